//! The answer to `/metrics`. Whoever reaches the listener may ask for it, so it is made once for all who ask within a second; it never counts anything itself.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Mutex;

use super::api::{Output, Sketch};
use super::hallway::{Hallway, Refusal};
use super::metrics::{self, Metrics};
use super::problem::Problem;
use crate::limits;
use crate::time::Stopwatch;

/// The metrics as they were a moment ago. Clones share them.
#[derive(Clone)]
pub(super) struct LatestMetrics {
    metrics: Arc<Metrics>,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// What was told last.
struct Kept {
    since: Stopwatch,
    texts: Texts,
}

/// The metrics in both formats.
#[derive(Clone)]
struct Texts {
    openmetrics: Bytes,
    prometheus: Bytes,
}

/// The metrics as text.
pub(super) struct Exposition {
    content_type: &'static str,
    text: Bytes,
}

impl LatestMetrics {
    /// Nothing is kept yet.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, kept: Arc::default() }
    }

    /// The metrics, made anew where they are older than [`limits::METRICS_KEPT_MS`]: nobody looks at them more often, and however many ask, the house is asked once in that time. Whoever comes
    /// while they are made waits for them. They are made to the end also when whoever asked goes away, or clients that come and go would have them begun again and again.
    async fn texts<H: Hallway>(&self, hallway: &H) -> Result<Texts, Refusal> {
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        if let Some(Kept { since, texts }) = &*kept
            && since.elapsed_ms() < limits::METRICS_KEPT_MS
        {
            return Ok(texts.clone());
        }
        let (hallway, metrics) = (hallway.clone(), Arc::clone(&self.metrics));
        let made = tokio::spawn(async move {
            let openmetrics = metrics.render(&hallway.figures().await?);
            let prometheus = metrics::in_prometheus_text(&openmetrics);
            let texts = Texts { openmetrics: openmetrics.into(), prometheus: prometheus.into() };
            *kept = Some(Kept { since: Stopwatch::start(), texts: texts.clone() });
            Ok::<_, Refusal>(texts)
        });
        let defect = |_| Refusal::Unavailable { detail: "a defect of hookwheel: its log says more".into() };
        made.await.map_err(defect)?
    }
}

/// In the format that was asked for: OpenMetrics by name, else the older one, which everybody reads.
pub(super) async fn render_metrics<H: Hallway>(
    State((hallway, latest)): State<(H, LatestMetrics)>,
    headers: HeaderMap,
) -> Result<Exposition, Problem> {
    let Texts { openmetrics, prometheus } = latest.texts(&hallway).await?;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_wanted = accepted.into_iter().any(|accepted| accepted.contains("application/openmetrics-text"));
    Ok(match is_wanted {
        true => Exposition { content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8", text: openmetrics },
        false => Exposition { content_type: "text/plain; version=0.0.4; charset=utf-8", text: prometheus },
    })
}

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, self.content_type)], self.text).into_response()
    }
}

impl Output for Exposition {
    fn describe(sketch: &mut Sketch<'_>) {
        let text = json!({ "schema": { "type": "string" } });
        sketch.answers_in(StatusCode::OK, "The metrics.", &json!({ "text/plain": text, "application/openmetrics-text": text }));
    }
}
