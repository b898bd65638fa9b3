//! Who speaks at the other end of the admin socket, and the line in the log about everything that they change. It never refuses anybody: the socket's mode does.

use std::borrow::Cow;
use std::fmt;
use std::fs;

use axum::extract::{Extension, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::net::UnixStream;

use crate::model::SandboxToken;

/// Requests that change nothing although they are no `GET`, or are logged otherwise: there may be thousands of them a second.
const NOT_LOGGED: [&str; 2] = ["/v1/events", "/v1/explain"];

/// Somebody, as the system says (`SO_PEERCRED`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user's number.
    pub uid: Option<u32>,
    /// The process.
    pub pid: Option<i32>,
    /// The user's name, where the system's list of users has one.
    pub user: Option<String>,
}

/// `alice (uid 1000)`, as it is kept with what they did.
impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(formatter, "{user} ({})", self.number()),
            None => formatter.write_str(&self.number()),
        }
    }
}

impl Peer {
    /// Who is at the other end.
    #[must_use]
    pub fn of(stream: &UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        let uid = credentials.as_ref().map(tokio::net::unix::UCred::uid);
        let user = uid.and_then(|uid| name_in(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid));
        Self { uid, pid: credentials.and_then(|credentials| credentials.pid()), user }
    }

    /// `uid 1000`
    #[must_use]
    pub fn number(&self) -> String {
        self.uid.map_or_else(|| "somebody".to_owned(), |uid| format!("uid {uid}"))
    }
}

/// The name of a user in a list as in passwd(5). A name that nobody could type is passed over.
fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse::<u32>().ok()?;
        (number == uid && !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_graphic())).then(|| name.to_owned())
    };
    passwd.lines().find_map(of)
}

/// Writes into the log what somebody changed, or tried to: who (user, process), what, and how it went.
pub(super) async fn log_change(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let changes = !matches!(method, Method::GET | Method::HEAD) && !NOT_LOGGED.contains(&path.as_str());
    if changes {
        let path =
            path.split('/').map(logged).collect::<Vec<_>>().join("/").chars().take(200).filter(|c| !c.is_control()).collect::<String>();
        tracing::info!(by = %peer, pid = peer.pid, status = response.status().as_u16(), "{method} {path}");
    }
    response
}

/// A part of a path as the log has it: of a sandbox's token only the beginning, for whoever knows it sees what the sandbox received.
fn logged(part: &str) -> Cow<'_, str> {
    SandboxToken::parse(part).map_or(Cow::Borrowed(part), |token| Cow::Owned(token.shortened()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_that_the_list_says() {
        let list = "root:x:0:0:root:/root:/bin/bash\nbad line\nalice:x:1000:1000::/:/bin/sh\nse rvice:x:7:7::/:/bin/false\n";
        assert_eq!(name_in(list, 1000).as_deref(), Some("alice"));
        assert_eq!(name_in(list, 7), None);
        assert_eq!(name_in(list, 1), None);
        let alice = Peer { uid: Some(1000), pid: Some(7), user: Some("alice".into()) };
        assert_eq!(alice.to_string(), "alice (uid 1000)");
        assert_eq!(Peer { user: None, ..alice }.to_string(), "uid 1000");
        assert_eq!(Peer { uid: None, pid: None, user: None }.to_string(), "somebody");
    }
}
