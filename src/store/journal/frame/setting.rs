//! The record of a setting. It never says more than the fact does.

use bincode::{BorrowDecode, Encode};

use super::PauseRecord;
use crate::model::{KeptSecret, Project, TokenScope, WebhookNumber};
use crate::store::setting::{IssuedToken, RetiredSecret, Setting};
use crate::time::UnixMillis;

#[derive(Encode, BorrowDecode)]
pub(super) enum SettingRecord<'a> {
    Definition { webhook: u32, text: Option<&'a str> },
    RetiredSecret { webhook: u32, secret: Option<(&'a [u8], u64)> },
    Sending(Option<PauseRecord<'a>>),
    Token { name: &'a str, token: Option<TokenRecord<'a>> },
}

#[derive(Encode, BorrowDecode)]
pub(super) struct TokenRecord<'a> {
    sha256: [u8; 32],
    /// None: every project.
    projects: Option<Vec<&'a str>>,
    since: u64,
    by: &'a str,
}

impl<'a> SettingRecord<'a> {
    pub(super) fn of(setting: &'a Setting) -> Self {
        match setting {
            Setting::Definition { webhook, text } => Self::Definition { webhook: webhook.0, text: text.as_deref() },
            Setting::RetiredSecret { webhook, secret } => {
                let secret = secret.as_ref().map(|retired| (retired.secret.as_bytes(), retired.until.0));
                Self::RetiredSecret { webhook: webhook.0, secret }
            }
            Setting::Sending(pause) => Self::Sending(pause.as_ref().map(PauseRecord::of)),
            Setting::Token { name, token } => Self::Token { name, token: token.as_ref().map(TokenRecord::of) },
        }
    }

    pub(super) fn into_setting(self) -> Result<Setting, String> {
        Ok(match self {
            Self::Definition { webhook, text } => Setting::Definition { webhook: WebhookNumber(webhook), text: text.map(str::to_owned) },
            Self::RetiredSecret { webhook, secret } => {
                let retired = |(key, until): (&[u8], u64)| {
                    Ok::<_, String>(RetiredSecret { secret: KeptSecret::from_bytes(key)?, until: UnixMillis(until) })
                };
                Setting::RetiredSecret { webhook: WebhookNumber(webhook), secret: secret.map(retired).transpose()? }
            }
            Self::Sending(pause) => Setting::Sending(pause.map(PauseRecord::into_pause).transpose()?),
            Self::Token { name, token } => Setting::Token { name: name.to_owned(), token: token.map(TokenRecord::into_token).transpose()? },
        })
    }
}

impl<'a> TokenRecord<'a> {
    fn of(token: &'a IssuedToken) -> Self {
        let projects = match &token.scope {
            TokenScope::AllProjects => None,
            TokenScope::Projects(projects) => Some(projects.iter().map(Project::as_str).collect()),
        };
        Self { sha256: token.sha256, projects, since: token.since.0, by: &token.by }
    }

    fn into_token(self) -> Result<IssuedToken, String> {
        let scope = match self.projects {
            None => TokenScope::AllProjects,
            Some(projects) => TokenScope::Projects(projects.into_iter().map(Project::parse).collect::<Result<_, _>>()?),
        };
        Ok(IssuedToken { sha256: self.sha256, scope, since: UnixMillis(self.since), by: self.by.to_owned() })
    }
}
