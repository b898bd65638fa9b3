//! Who may post events. It never keeps a token, and never lets the time that a comparison takes tell anything about one.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::model::{Project, Token};

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The TCP listener.
    Listener {
        /// It listens on a loopback address only.
        is_loopback: bool,
    },
    /// The admin socket, whose file permissions decide who may come in.
    AdminSocket,
}

/// What a request may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Publish for every project.
    All,
    /// Publish for the projects of this token.
    Token(Token),
}

impl Leave {
    /// Whether events of `project` may be published.
    #[must_use]
    pub fn covers(&self, project: &Project) -> bool {
        match self {
            Self::All => true,
            Self::Token(token) => token.covers(project),
        }
    }
}

/// Judges a request by its token or, where none is configured, by where it comes from.
///
/// # Errors
/// 401 without a good token; 403 when a web page seems to have sent it.
pub fn judge(door: Door, tokens: &[Token], uri: &Uri, headers: &HeaderMap) -> Result<Leave, Problem> {
    let Door::Listener { is_loopback } = door else { return Ok(Leave::All) };
    if tokens.is_empty() && is_loopback {
        return judge_local(uri, headers).map(|()| Leave::All);
    }
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(given) = all.next() else {
        return Err(Problem::unauthorized("a token is needed here: send \"Authorization: Bearer …\" with one that [[token]] names"));
    };
    if all.next().is_some() {
        // Whoever stands between might have looked at the other one.
        return Err(Problem::unauthorized("there are several headers Authorization: send one"));
    }
    let token = given.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else {
        return Err(Problem::unauthorized("the header Authorization is not understood: expected \"Bearer …\""));
    };
    let hash = Token::hash(token.trim());
    // Every token is compared, so that the time taken does not say which one was near.
    let known = tokens.iter().fold(None, |found, known| if bool::from(known.sha256.ct_eq(&hash)) { Some(known) } else { found });
    known.cloned().map(Leave::Token).ok_or_else(|| Problem::unauthorized("this token is not known here, or not any more"))
}

/// A browser sends `Origin` with every request that a page makes to somewhere else, and the name that the page used as `Host`, so neither
/// a hostile page nor a name rebound to 127.0.0.1 gets through.
///
/// The name is in `Host`, in HTTP/2 in `:authority`, which the URI holds; where there are several, each must be local.
fn judge_local(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "web pages may not post here: the request carries an Origin header, and no token is configured",
        ));
    }
    let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let hosts = uri.authority().map(Authority::as_str).into_iter().chain(hosts).collect::<Vec<_>>();
    let foreign = if hosts.is_empty() { Some("") } else { hosts.into_iter().find(|host| !is_local(host)) };
    foreign.map_or(Ok(()), |host| {
        let detail = format!("the Host header {host:?} is not local, and no token is configured; use localhost, or configure a [[token]]");
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    })
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TokenScope;

    const LOCAL: Door = Door::Listener { is_loopback: true };
    const PUBLIC: Door = Door::Listener { is_loopback: false };

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn token(text: &str, scope: TokenScope) -> Token {
        Token { name: "platform".into(), sha256: Token::hash(text), scope, place: None }
    }

    #[test]
    fn without_tokens_only_local_programs_may_post_and_only_on_loopback() {
        for host in ["localhost", "LOCALHOST:8700", "127.0.0.1:8700", "127.9.9.9", "[::1]:8700"] {
            assert_eq!(judge(LOCAL, &[], &Uri::default(), &headers(&[("host", host)])).unwrap(), Leave::All, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8700", "10.0.0.1", "localhost.evil.example", ""] {
            assert!(judge(LOCAL, &[], &Uri::default(), &headers(&[("host", host)])).is_err(), "{host}");
        }
        assert!(judge(LOCAL, &[], &Uri::default(), &headers(&[("host", "localhost"), ("origin", "http://localhost")])).is_err());
        assert!(judge(PUBLIC, &[], &Uri::default(), &headers(&[("host", "localhost")])).is_err());
        assert_eq!(judge(Door::AdminSocket, &[], &Uri::default(), &HeaderMap::new()).unwrap(), Leave::All);
    }

    #[test]
    fn a_token_must_be_one_of_those_configured_and_says_what_it_covers() {
        let shop = Project::parse("shop.example.com").unwrap();
        let tokens = [token("one", TokenScope::AllProjects), token("two", TokenScope::Projects(vec![shop.clone()]))];
        let leave = |value: &str| judge(LOCAL, &tokens, &Uri::default(), &headers(&[("host", "x"), ("authorization", value)]));
        assert!(leave("Bearer one").unwrap().covers(&Project::parse("news.example.org").unwrap()));
        let narrow = leave("bearer two").unwrap();
        assert!(narrow.covers(&shop) && !narrow.covers(&Project::parse("news.example.org").unwrap()));
        for wrong in ["Bearer three", "Basic one", "one", "Bearer "] {
            assert!(leave(wrong).is_err(), "{wrong}");
        }
        assert!(
            judge(LOCAL, &tokens, &Uri::default(), &headers(&[("host", "localhost")])).is_err(),
            "a configured token is needed on loopback too"
        );
    }
}
