//! `[[token]]`: who may post events. It never sees a token, only its hash.

use data_encoding::HEXLOWER_PERMISSIVE;

use super::mistakes::Report;
use super::raw::{self, Section};
use super::{notation, webhook::PROJECT};
use crate::model::{Project, Token, TokenScope};

const NAME: &str = "a name in quotes";
const SHA256: &str = "64 hexadecimal digits in quotes, as `printf %s TOKEN | sha256sum` prints them";
const PROJECTS: &str = "a list of projects, such as [\"shop.example.com\"] or [\"*\"]";

/// Every `[[token]]`. One with a mistake is left out: the report has it.
pub(super) fn tokens(file: &mut Section<'_>, report: &mut Report<'_>) -> Vec<Token> {
    let mut tokens = Vec::<Token>::new();
    for mut section in file.sections("token", report) {
        let offset = section.offset();
        let name = section.parsed("name", NAME, report, notation::label);
        let sha256 = section.parsed("sha256", SHA256, report, sha256);
        let scope = scope(&mut section, report);
        section.finish(&["name", "sha256", "projects"], report);
        let (Some(name), Some(sha256), Some(scope)) = (name, sha256, scope) else { continue };
        if let Some(first) = tokens.iter().find(|token| token.name == name || token.sha256 == sha256) {
            report.wrong(
                offset,
                format!(
                    "this [[token]] has the name or the sha256 of the one at {}; each needs its own",
                    first.place.as_deref().unwrap_or_default()
                ),
            );
            continue;
        }
        tokens.push(Token { name, sha256, scope, place: Some(report.place(offset)) });
    }
    tokens
}

/// The text is not repeated: it might be the token itself, put there by mistake.
fn sha256(text: &str) -> Result<[u8; 32], String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| format!("expected {SHA256}; the token itself does not belong here"))
}

fn scope(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<TokenScope> {
    let (list, offset) = section.list("projects", PROJECTS, report)?;
    if list.is_empty() {
        report.wrong(offset, "projects: the list is empty; \"*\" stands for every project");
    }
    let mut projects = Vec::new();
    for value in list.iter() {
        match raw::text(value, "projects", PROJECT, report) {
            None => {}
            Some("*") if list.len() > 1 => report.wrong(value.span().start, "projects: \"*\" stands for every project; write it alone"),
            Some("*") => return Some(TokenScope::AllProjects),
            Some(text) => match Project::parse(text) {
                Ok(project) => projects.push(project),
                Err(sentence) => report.wrong(value.span().start, format!("projects: {sentence}")),
            },
        }
    }
    Some(TokenScope::Projects(projects))
}
