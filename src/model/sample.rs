//! What an event of each type may look like, for a demo or a try. It is invented, and never data of anybody.

use serde_json::{Map, Value, json};

use super::{EventType, notice};

/// Data such as a messaging platform would send with an event of that type, or the daemon itself.
#[must_use]
pub fn data(event_type: &EventType) -> Map<String, Value> {
    if event_type.name.is_of_daemon() {
        return notice::sample(event_type);
    }
    let [channel, _, what] = event_type.name.segments();
    let data = match channel {
        "email" => json!({ "email": "anna@example.com", "message_id": "summer-sale-1042" }),
        "sms" | "viber" => json!({ "phone": "+12025550143", "message_id": "summer-sale-1042" }),
        "webpush" => json!({ "subscriber": "b7c1f0e2", "browser": "Firefox" }),
        "telegram" => json!({ "chat_id": 1_000_042, "message_id": "summer-sale-1042" }),
        _ => json!({ "sample": true }),
    };
    let more = match what {
        "clicked" => Some(("url", "https://shop.example.com/summer?size=38&colour=blue")),
        "bounced" => Some(("code", "550 5.1.1")),
        "rejected" | "failed" | "undelivered" | "expired" => Some(("reason", event_type.label.as_str())),
        _ => None,
    };
    let mut data = if let Value::Object(data) = data { data } else { Map::new() };
    data.extend(more.map(|(key, value)| (key.to_owned(), Value::from(value))));
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Catalog, EventId, submission};
    use crate::time::UnixMillis;

    #[test]
    fn an_event_with_its_sample_is_one_that_is_accepted() {
        let catalog = Catalog::built_in();
        for event_type in catalog.types() {
            let event = json!({ "type": event_type.name, "project": "shop.example.com", "data": data(event_type) }).to_string();
            let fresh = || EventId::parse("evt_1").expect("it is one");
            assert!(submission::parse(&event, &catalog, UnixMillis(0), fresh).is_ok(), "{event}");
        }
    }
}
