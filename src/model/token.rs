//! Who may post events: a token's hash and the projects that it covers. The token itself is never kept.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::Project;

/// The projects that a token may publish for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenScope {
    /// `["*"]`.
    AllProjects,
    /// Just these.
    Projects(Vec<Project>),
}

/// An ingest token, as configured by `[[token]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What people call it; it appears in logs.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
    /// Where it may publish.
    pub scope: TokenScope,
    /// Where it stands in the file: `webhooks.toml:12`; none when the daemon made it.
    pub place: Option<String>,
}

impl Token {
    /// The text of a new token, of so many random bytes.
    #[must_use]
    pub fn text(random: [u8; 32]) -> String {
        format!("hwt_{}", HEXLOWER.encode(&random))
    }

    /// What is kept of a token's text.
    ///
    /// # Panics
    /// Never: a SHA-256 has 32 bytes.
    #[must_use]
    pub fn hash(text: &str) -> [u8; 32] {
        digest::digest(&digest::SHA256, text.as_bytes()).as_ref().try_into().expect("a SHA-256 has 32 bytes")
    }

    /// Whether this token may publish events of `project`.
    #[must_use]
    pub fn covers(&self, project: &Project) -> bool {
        match &self.scope {
            TokenScope::AllProjects => true,
            TokenScope::Projects(projects) => projects.contains(project),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_covers_its_projects_only() {
        let [shop, news] = ["shop.example.com", "news.example.org"].map(|text| Project::parse(text).unwrap());
        let token = |scope| Token { name: "t".into(), sha256: [0; 32], scope, place: None };
        assert!(token(TokenScope::AllProjects).covers(&news));
        assert!(token(TokenScope::Projects(vec![shop.clone()])).covers(&shop));
        assert!(!token(TokenScope::Projects(vec![shop])).covers(&news));
    }
}
