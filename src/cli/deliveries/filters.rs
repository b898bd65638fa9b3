//! The options that say which deliveries are meant, one definition for every command that takes them. They never ask the daemon.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use url::form_urlencoded;

use crate::model::{DeliveryState, Moment, Project, Selector, WebhookId};

// Not doc comments: of a struct that is flattened they would become the help of the command.
// Whose deliveries, and of which events.
#[derive(Debug, Args)]
pub(in super::super) struct Whose {
    /// Of this webhook
    #[arg(long, value_name = "ID", value_parser = WebhookId::parse)]
    pub(in super::super) webhook: Option<WebhookId>,
    /// Of this project
    #[arg(long, value_name = "DOMAIN", value_parser = Project::parse)]
    pub(in super::super) project: Option<Project>,
    /// Of these event types: an exact one, email.*, *.status.delivered
    #[arg(long = "type", value_name = "TYPE", value_parser = Selector::parse)]
    pub(in super::super) event_type: Option<Selector>,
}

// When something happened to them.
#[derive(Debug, Args)]
pub(in super::super) struct Between {
    /// To which something happened since: an age such as 90s, 15m, 2h, 3d, or a time, RFC 3339
    #[arg(long, value_name = "MOMENT")]
    pub(in super::super) since: Option<Moment>,
    /// To which nothing happened since: an age or a time
    #[arg(long, value_name = "MOMENT")]
    pub(in super::super) until: Option<Moment>,
}

impl Whose {
    /// A query that says so, with what else is said.
    pub(super) fn query(&self, state: Option<DeliveryState>, more: &[(&str, Option<&str>)]) -> String {
        let state = state.map(|state| state.to_string());
        let own = [
            ("webhook", self.webhook.as_ref().map(WebhookId::as_str)),
            ("project", self.project.as_ref().map(Project::as_str)),
            ("type", self.event_type.as_ref().map(Selector::as_str)),
            ("state", state.as_deref()),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(own.iter().chain(more).filter_map(|(name, value)| Some((*name, (*value)?))));
        query.finish()
    }
}

/// Reads a state by its name.
pub(in super::super) fn states() -> impl TypedValueParser<Value = DeliveryState> {
    const STATES: [DeliveryState; 4] = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Dropped, DeliveryState::Cancelled];
    let of_name = |name: String| STATES.into_iter().find(|state| state.to_string() == name).ok_or("no state has that name");
    PossibleValuesParser::new(["pending", "delivered", "dropped", "cancelled"]).try_map(of_name)
}
