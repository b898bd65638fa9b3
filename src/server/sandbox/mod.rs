//! The sandbox: test receivers at URLs of the daemon's own listener, each with its script and the newest requests that it got. It never emits an event,
//! and never touches the store: its files are its own.
//!
//! * A URL is `http://<listen>/sandbox/<token>`, with `https` where the listener speaks TLS. [`routes`] on the listener keep every request to it, or to any path below it, whatever its method; but a `GET` of exactly that
//!   URL that accepts `text/html` by name shows the [`page`] of what was received, and one that accepts `application/json` by name lists it; these two are not kept. A `GET` that
//!   accepts neither by name (`*/*` names nothing) is a request like any other.
//! * No token but that of the URL is asked for, and neither `Host` nor `Origin` matters: 160 random bits are what lets in, and nothing can be published here.
//! * What is kept and read is bounded ([`crate::limits`]), in bytes as well as in number, on disk and in memory: only where a request stands in its file is held, not the request.
//! * [`admin`] on the admin socket makes, lists, removes and follows sandboxes.
//!
//! Which webhooks point at a sandbox, and so with which secrets a signature is checked, is told by the daemon ([`Sandboxes::follow`]) whenever it changes.

pub mod admin;
mod log;
mod page;
pub mod routes;
pub mod signature;

use std::collections::{BTreeMap, HashMap};
use std::fs::DirBuilder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{HeaderMap, Method, Uri};
use tokio::sync::{Semaphore, watch};

use self::log::{Definition, Log};
use self::signature::Key;
use super::hallway::Refusal;
use crate::limits;
use crate::model::sandbox::{
    Behaviour, KeptBody, NewSandbox, ReceivedPage, ReceivedRequest, SandboxAnswer, SandboxSummary, SignatureReason, SignatureVerdict,
};
use crate::model::{CheckingKey, SandboxToken, SealingKey, Webhook, WebhookId, sealing};
use crate::time::{UnixMillis, wall_now};

/// Every sandbox of a daemon. Clones are the same.
#[derive(Clone)]
pub struct Sandboxes(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    base_url: String,
    sealing_keys: Vec<SealingKey>,
    sandboxes: RwLock<BTreeMap<SandboxToken, Arc<Sandbox>>>,
    pointing: RwLock<HashMap<SandboxToken, Vec<Pointing>>>,
    closing: watch::Sender<bool>,
    /// Held while a sandbox is made, so that their number stays in bounds.
    making: Mutex<()>,
    /// Requests under way.
    in_flight: Arc<Semaphore>,
    /// Kibibytes of bodies in memory.
    body_budget: Arc<Semaphore>,
    /// Pages and lists that are being made, or sent.
    looks: Arc<Semaphore>,
    /// Requests at the disk.
    disk: Arc<Semaphore>,
}

/// A webhook that points at a sandbox.
struct Pointing {
    webhook: WebhookId,
    keys: Vec<CheckingKey>,
}

struct Sandbox {
    token: SandboxToken,
    behaviour: Behaviour,
    key: Option<CheckingKey>,
    log: Mutex<Log>,
    /// The number of the newest request; the largest number when the sandbox was removed.
    last: watch::Sender<u64>,
}

/// A request to a sandbox, read.
struct Arrived {
    received: UnixMillis,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
    /// It is longer than what was read of it.
    is_cut: bool,
}

/// What became of an arrived request.
struct Kept {
    number: u64,
    attempt: u32,
    answer: SandboxAnswer,
}

impl Sandboxes {
    /// Opens the sandboxes in `directory`, which is made where there is none. `listen` is where the daemon listens, with TLS or without; `sealing_keys` seal and open their secrets. It reads
    /// files, and so it blocks.
    ///
    /// A file that can't be read, or whose secret stays closed, is left alone, with a warning in the log: a test receiver must not keep a daemon from starting.
    ///
    /// # Errors
    /// Those of the directory.
    pub fn open(directory: &Path, listen: SocketAddr, speaks_tls: bool, sealing_keys: &[SealingKey]) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut sandboxes = BTreeMap::new();
        for path in log::find(directory)? {
            let opened = Log::open(&path);
            match opened.and_then(|(log, dropped)| Ok((Sandbox::new(log, sealing_keys).map_err(io::Error::other)?, dropped))) {
                Ok((sandbox, dropped)) => {
                    if dropped > 0 {
                        tracing::info!(sandbox = %sandbox.token.shortened(), dropped, "lines of a sandbox's file were not whole and were dropped");
                    }
                    sandboxes.insert(sandbox.token.clone(), Arc::new(sandbox));
                }
                Err(error) => {
                    let begins = path.file_name().map(|name| name.to_string_lossy().chars().take(6).collect::<String>());
                    tracing::warn!(file = begins.map(|name| name + "…"), %error, "a sandbox could not be read and is not there");
                }
            }
        }
        Ok(Self(Arc::new(Shared {
            directory: directory.to_owned(),
            base_url: base_url(listen, speaks_tls),
            sealing_keys: sealing_keys.to_vec(),
            sandboxes: RwLock::new(sandboxes),
            pointing: RwLock::default(),
            closing: watch::Sender::new(false),
            making: Mutex::new(()),
            in_flight: Arc::new(Semaphore::new(limits::SANDBOX_IN_FLIGHT_MAX)),
            body_budget: Arc::new(Semaphore::new(limits::SANDBOX_BODIES_MAX / 1024)),
            looks: Arc::new(Semaphore::new(limits::SANDBOX_LOOKS_MAX)),
            disk: Arc::new(Semaphore::new(limits::SANDBOX_DISK_USERS_MAX)),
        })))
    }

    /// Takes note of every webhook in force, of which some may point at a sandbox.
    pub fn follow<'a>(&self, webhooks: impl Iterator<Item = &'a Webhook>) {
        let mut pointing = HashMap::<_, Vec<_>>::new();
        for webhook in webhooks {
            if let Some((token, _)) = SandboxToken::of_path(webhook.spec.url.path()) {
                let one = Pointing { webhook: webhook.spec.id.clone(), keys: webhook.secrets.iter().map(CheckingKey::from).collect() };
                pointing.entry(token).or_default().push(one);
            }
        }
        *self.0.pointing.write().unwrap_or_else(PoisonError::into_inner) = pointing;
    }

    /// Ends every wait, so that the doors can close.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// Makes a sandbox. It survives a loss of power when this returns. It blocks.
    fn create(&self, new: NewSandbox) -> Result<SandboxSummary, Refusal> {
        new.check_title().map_err(|detail| Refusal::Invalid { detail })?;
        if let Some(secret) = &new.secret {
            CheckingKey::parse(secret).map_err(|detail| Refusal::Invalid { detail })?;
        }
        let NewSandbox { title, behaviour, secret } = new;
        let token = SandboxToken::from_random(random().map_err(unavailable)?);
        let secret = secret.map(|secret| stored(&self.0.sealing_keys, &secret, &token)).transpose().map_err(unavailable)?;
        let definition = Definition { token, created: wall_now(), title, behaviour, secret };
        let _one_at_a_time = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.0.sandboxes.read().unwrap_or_else(PoisonError::into_inner).len();
        if count >= limits::SANDBOXES_MAX {
            let detail = format!("there are {count} sandboxes, and that is as many as there may be; `hookwheel sandbox remove` one");
            return Err(Refusal::Conflict { detail });
        }
        let log = Log::create(&self.0.directory, definition)
            .map_err(|error| unavailable(format!("the sandbox could not be written: {error}")))?;
        let sandbox = Arc::new(Sandbox::new(log, &self.0.sealing_keys).map_err(unavailable)?);
        self.0.sandboxes.write().unwrap_or_else(PoisonError::into_inner).insert(sandbox.token.clone(), Arc::clone(&sandbox));
        Ok(self.summary(&sandbox))
    }

    /// Every sandbox, the oldest first. It blocks.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxSummary> {
        let sandboxes = self.0.sandboxes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect::<Vec<_>>();
        let mut summaries = sandboxes.iter().map(|sandbox| self.summary(sandbox)).collect::<Vec<_>>();
        summaries.sort_by_key(|summary| summary.created);
        summaries
    }

    /// Removes a sandbox and everything that it received. It blocks.
    fn remove(&self, token: &SandboxToken) -> Result<SandboxSummary, Refusal> {
        let sandbox = self.find(token)?;
        let summary = self.summary(&sandbox);
        sandbox.log().remove().map_err(|error| unavailable(format!("the sandbox's file could not be deleted: {error}")))?;
        self.0.sandboxes.write().unwrap_or_else(PoisonError::into_inner).remove(token);
        sandbox.last.send_replace(u64::MAX);
        Ok(summary)
    }

    /// Keeps a request, and says what to do with it. It blocks.
    fn keep(&self, sandbox: &Sandbox, arrived: &Arrived) -> Result<Kept, Refusal> {
        let signature = match arrived.is_cut {
            true => {
                SignatureVerdict::new(SignatureReason::BodyTooLarge, format!("more than {} bytes of body", limits::SANDBOX_BODY_READ_MAX))
            }
            false => signature::judge(&arrived.headers, &arrived.body, arrived.received, &self.keys(sandbox)),
        };
        let webhook_id = arrived.headers.get("webhook-id").map(axum::http::HeaderValue::as_bytes);
        let said = arrived.headers.get("hookwheel-attempt").and_then(|value| value.to_str().ok()?.parse().ok());
        let (headers, headers_left_out) = kept_headers(&arrived.headers);
        let mut log = sandbox.log();
        let attempt = said.unwrap_or_else(|| log.attempt_of(webhook_id));
        let number = log.last().saturating_add(1);
        let answer = match arrived.is_cut {
            true => SandboxAnswer { status: Some(413), retry_after_s: None },
            false => sandbox.behaviour.answer_to(attempt),
        };
        let request = ReceivedRequest {
            number,
            received: arrived.received,
            method: arrived.method.as_str().chars().take(32).collect(),
            target: target(&arrived.uri).chars().take(limits::SANDBOX_TARGET_KEPT_MAX).collect(),
            headers,
            headers_left_out,
            body: KeptBody::of(&arrived.body, limits::SANDBOX_BODY_KEPT_MAX),
            body_size: arrived.body.len() as u64,
            attempt,
            signature,
            answer,
        };
        log.append(webhook_id, request).map_err(|error| unavailable(format!("the request could not be kept: {error}")))?;
        drop(log);
        sandbox.last.send_modify(|last| *last = number.max(*last));
        Ok(Kept { number, attempt, answer })
    }

    fn find(&self, token: &SandboxToken) -> Result<Arc<Sandbox>, Refusal> {
        let found = self.0.sandboxes.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        found.ok_or_else(|| Refusal::NotFound { detail: "there is no such sandbox; `hookwheel sandbox list` shows them all".into() })
    }

    /// A page of what a sandbox received: behind the number `after`, or else the newest. It blocks.
    ///
    /// # Errors
    /// There is no such sandbox, or what the disk says.
    pub fn page(&self, token: &SandboxToken, after: Option<u64>, limit: usize) -> Result<ReceivedPage, Refusal> {
        self.find(token)?.page(after, limit)
    }

    /// The same without blocking. Whatever `held` holds is held until it is read, and given back.
    async fn received<H: Send + 'static>(
        &self,
        token: &SandboxToken,
        after: Option<u64>,
        limit: usize,
        held: H,
    ) -> Result<(ReceivedPage, H), Refusal> {
        let sandbox = self.find(token)?;
        self.at_the_disk(move || sandbox.page(after, limit).map(|page| (page, held))).await?
    }

    /// Waits until a sandbox has received more than `after`, for `wait` at most, or until the doors close.
    async fn wait_beyond(&self, token: &SandboxToken, after: u64, wait: Duration) -> Result<(), Refusal> {
        let mut last = self.find(token)?.last.subscribe();
        let mut closing = self.0.closing.subscribe();
        tokio::select! {
            _ = last.wait_for(|last| *last > after) => {}
            _ = closing.wait_for(|closing| *closing) => {}
            () = tokio::time::sleep(wait) => {}
        }
        Ok(())
    }

    /// Does something that blocks, off the workers and with few others. Once begun it is done to its end, also when whoever asked for it is gone, and has its place so long: permits of which
    /// somebody makes use in `work` belong in there, too.
    async fn at_the_disk<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let permit = Arc::clone(&self.0.disk).acquire_owned().await.map_err(|_| unavailable("the daemon is ending"))?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| unavailable("a defect of hookwheel: its log says more"))
    }

    /// The keys that a signature may have been made with: the sandbox's own, or else those of the webhooks that point at it.
    fn keys(&self, sandbox: &Sandbox) -> Vec<Key> {
        if let Some(key) = &sandbox.key {
            return vec![Key { owner: "this sandbox".into(), key: key.clone() }];
        }
        let pointing = self.0.pointing.read().unwrap_or_else(PoisonError::into_inner);
        let of = |one: &Pointing| {
            let owner = format!("the webhook {}", one.webhook);
            one.keys.iter().map(|key| Key { owner: owner.clone(), key: key.clone() }).collect::<Vec<_>>()
        };
        pointing.get(&sandbox.token).map(|pointing| pointing.iter().flat_map(of).collect()).unwrap_or_default()
    }

    /// What a list shows. It waits for whoever writes the sandbox's file, and so it blocks.
    fn summary(&self, sandbox: &Sandbox) -> SandboxSummary {
        let log = sandbox.log();
        let definition = log.definition();
        let pointing = self.0.pointing.read().unwrap_or_else(PoisonError::into_inner);
        let webhooks = pointing.get(&sandbox.token).map(|pointing| pointing.iter().map(|one| one.webhook.clone()).collect());
        SandboxSummary {
            token: definition.token.clone(),
            url: format!("{}{}", self.0.base_url, definition.token.path()),
            title: definition.title.clone(),
            created: definition.created,
            behaviour: definition.behaviour,
            received: log.last(),
            kept: log.len() as u64,
            last_received: log.last_received(),
            has_secret: definition.secret.is_some(),
            webhooks: webhooks.unwrap_or_default(),
        }
    }
}

impl Sandbox {
    fn new(mut log: Log, sealing_keys: &[SealingKey]) -> Result<Self, String> {
        let Definition { token, behaviour, secret, .. } = log.definition().clone();
        let opened = secret.map(|secret| sealing::open_text(sealing_keys, &secret, &place_of(&token))).transpose();
        let opened = opened.map_err(|why| format!("its secret {why}"))?;
        if let Some((secret, false)) = &opened {
            let stored = stored(sealing_keys, secret, &token)?;
            log.store_secret(stored).map_err(|error| format!("its secret could not be sealed: {error}"))?;
        }
        let key = opened.map(|(secret, _)| CheckingKey::parse(&secret)).transpose()?;
        Ok(Self { token, behaviour, key, last: watch::Sender::new(log.last()), log: Mutex::new(log) })
    }

    fn page(&self, after: Option<u64>, limit: usize) -> Result<ReceivedPage, Refusal> {
        let log = self.log();
        let requests = log.read(after, limit);
        let requests = requests.map_err(|error| unavailable(format!("what was received could not be read: {error}")))?;
        Ok(ReceivedPage { requests, last: log.last() })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A secret as it is stored.
fn stored(sealing_keys: &[SealingKey], secret: &str, token: &SandboxToken) -> Result<String, String> {
    Ok(sealing::stored_text(sealing_keys, secret, &place_of(token), random()?))
}

/// The place that a secret is sealed for.
fn place_of(token: &SandboxToken) -> String {
    format!("the secret of sandbox {token}")
}

fn random<const COUNT: usize>() -> Result<[u8; COUNT], String> {
    let mut bytes = [0; COUNT];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes")?;
    Ok(bytes)
}

fn unavailable(detail: impl Into<String>) -> Refusal {
    Refusal::Unavailable { detail: detail.into() }
}

/// Where the listener is reached from this machine.
fn base_url(listen: SocketAddr, speaks_tls: bool) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if speaks_tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
}

/// Path and query; an absolute form (`GET http://…`, or HTTP/2) is cut down to these.
fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |target| target.as_str())
}

/// As many headers as may be kept, and how many were left out. Those of a signature come first to their place, for they are why people look.
fn kept_headers(headers: &HeaderMap) -> (Vec<(String, String)>, u32) {
    let (mut kept, mut left_out, mut room) = (Vec::with_capacity(headers.len()), 0, limits::SANDBOX_HEADERS_KEPT_MAX);
    let is_ours = |name: &str| name.starts_with("webhook-") || name.starts_with("hookwheel-");
    let mut named = headers.iter().enumerate().collect::<Vec<_>>();
    named.sort_by_key(|(place, (name, _))| (!is_ours(name.as_str()), *place));
    for (place, (name, value)) in named {
        let length = name.as_str().len() + value.len();
        if length > room {
            left_out += 1;
            continue;
        }
        room -= length;
        kept.push((place, (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())));
    }
    kept.sort_by_key(|(place, _)| *place);
    (kept.into_iter().map(|(_, header)| header).collect(), left_out)
}

#[cfg(test)]
mod tests;
