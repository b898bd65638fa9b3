//! What the doors say of themselves: every answer that any of these tests gets is held against it. It never takes the description's word for what is right.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::house::{Doors, House};
use super::talking::{Answer, bare};

/// The descriptions of both doors.
pub(super) struct Described {
    pub(super) listener: Value,
    pub(super) admin: Value,
}

/// What a router says of itself.
pub(super) async fn description(router: &Router) -> Value {
    let response = router.clone().oneshot(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.unwrap();
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

impl Described {
    /// The listener's answer is one that it said it may give.
    pub(super) fn assert_listener_may(&self, request: &[u8], answer: &Answer) {
        assert_may(&self.listener, request, answer);
    }

    /// The same of the admin socket.
    pub(super) fn assert_admin_may(&self, request: &[u8], answer: &Answer) {
        assert_may(&self.admin, request, answer);
    }
}

fn assert_may(document: &Value, request: &[u8], answer: &Answer) {
    let line = String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    let [method, target, _] = line.split(' ').collect::<Vec<_>>()[..] else { return };
    let Some(content_type) = answer.header("content-type") else {
        assert!([204, 400, 431].contains(&answer.status), "{line}: {} without any content type", answer.status);
        return;
    };
    let content_type = content_type.split(';').next().unwrap_or_default();
    let path = target
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .map_or_else(|| target.to_owned(), |(_, path)| format!("/{path}"));
    let path = path.split('?').next().unwrap_or_default();
    let Some(operations) = operations_of(document, path) else {
        assert!([404, 503].contains(&answer.status), "{line}: {} although nothing is described there", answer.status);
        return;
    };
    let Some(operation) = operations.get(method.to_ascii_lowercase()) else {
        assert!([405, 503].contains(&answer.status), "{line}: {} although there is no such operation", answer.status);
        return;
    };
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{line}: the answer {} is not described", answer.status);
    assert!(described["content"].get(content_type).is_some(), "{line}: {} in {content_type} is not described", answer.status);
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        assert!(header["required"] == json!(false) || answer.header(&name.to_ascii_lowercase()).is_some(), "{line}: no header {name}");
    }
}

/// The operations of a path; one that is spelt out goes before one with names in it.
fn operations_of<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let paths = document["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (template, path) = (template.split('/').collect::<Vec<_>>(), path.split('/').collect::<Vec<_>>());
        let part_fits = |(wanted, part): (&&str, &&str)| wanted == part || (wanted.starts_with('{') && !part.is_empty());
        template.len() == path.len() && template.iter().zip(&path).all(part_fits)
    };
    paths.get(path).or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, operations)| operations))
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let of = |(path, methods): (&String, &'_ Value)| {
        let path = path.clone();
        methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_ascii_uppercase())).collect::<Vec<_>>()
    };
    let names = document["paths"].as_object().unwrap().iter().flat_map(of);
    let values = document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap().values());
    names.zip(values).collect()
}

#[tokio::test]
async fn each_door_serves_what_its_code_says_of_it() {
    let doors = Doors::open(&House::new()).await;
    let (listener, admin) =
        (doors.say(bare("GET", "/openapi.json")).await.json(200), doors.say_admin(bare("GET", "/openapi.json")).await.json(200));
    assert_eq!((&listener, &admin), (&doors.described.listener, &doors.described.admin));
    assert_eq!(
        operations(&listener).into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["GET /healthz", "GET /metrics", "GET /openapi.json", "GET /readyz", "POST /v1/events"]
    );
    for document in [&listener, &admin] {
        assert_eq!((&document["openapi"], &document["info"]["version"]), (&json!("3.1.0"), &json!(env!("CARGO_PKG_VERSION"))));
        let ids = operations(document).iter().map(|(_, operation)| operation["operationId"].to_string()).collect::<Vec<_>>();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each operation has a name of its own: {ids:?}");
    }
    assert!(listener["components"]["securitySchemes"]["token"].is_object() && admin["components"]["securitySchemes"].is_null());
}

#[tokio::test]
async fn every_name_in_a_path_is_a_parameter_and_every_reference_leads_somewhere() {
    let doors = Doors::open(&House::new()).await;
    for document in [&doors.described.listener, &doors.described.admin] {
        for (name, operation) in operations(document) {
            let wanted = name.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect::<BTreeSet<_>>();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let found =
                parameters.iter().filter(|parameter| parameter["in"] == "path").map(|parameter| parameter["name"].as_str().unwrap());
            assert_eq!(found.collect::<BTreeSet<_>>(), wanted, "{name}");
            assert!(operation["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name} says what it does");
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
    let filter = &doors.described.admin["paths"]["/v1/deliveries"]["get"]["parameters"];
    let state = filter.as_array().unwrap().iter().find(|parameter| parameter["name"] == "state").unwrap();
    assert_eq!(state["required"], json!(false));
    assert!(!state.to_string().contains("null"), "{state}");
    assert_eq!(doors.described.admin["components"]["schemas"]["BulkRequest"]["required"], json!(["filter"]));
}
