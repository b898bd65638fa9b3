//! hookwheel: a webhook delivery daemon. Events in, safe on disk, delivered on the schedule; one binary, no external service.
//!
//! This page is the map of the house. **Rooms never visit each other. They hand things to the hallway ([`daemon`]), and the only one who
//! decides is the [`engine`].**
//!
//! # The rooms, in walking order
//!
//! | room | what it is for | what it never does |
//! | --- | --- | --- |
//! | `main.rs` | the front door: arguments → one command → exit code | work |
//! | [`limits`] | every bound in the program, with the relations between them asserted | hold state |
//! | [`time`] | the schedule clock and the wall clock | decide; nobody else reads a clock |
//! | [`config`] | `webhooks.toml` → raw → checked; messages with line and column | apply what it read |
//! | [`model`] | the nouns: catalogue, event, webhook, delivery, attempt | clock, disk, socket, chance |
//! | [`engine`] | **the quiet room**: matching, wheel, lanes, retry; pure and deterministic | wait, fail, do anything itself |
//! | [`store`] | **the cellar**: the journal is the truth, sled the queue and the look-ups over it | decide what is sent |
//! | [`dispatch`] | **the back door**: judge the address, sign, post, one outcome for whatever comes back | decide whether to try again |
//! | [`server`] | **the front doors**: events, metrics and the [sandbox](server::sandbox) on TCP, the commands' API on a Unix socket | touch the store |
//! | [`cli`] | the commands, speaking to a daemon through its socket | touch the store or the queue |
//! | [`daemon`] | **the hallway**: opens the rooms, carries things between them, closes them | decide what is sent |
//!
//! # The arrows
//!
//! `main → cli, config, daemon`; `daemon → server, dispatch, store, engine, config`; `server, dispatch, store, config, cli → model`, never one another;
//! `engine → model, limits` and [`time::UnixMillis`], and nothing else. `tests/it/rooms.rs` scans for all this, so `cargo test` holds the house up.
//!
//! # The walk of one event
//!
//! 1. **In**: [`server::events`] reads a bounded body, checks token and shape ([`model::submission`]) and makes the delivered body once.
//! 2. **Match**: the engine asks [`engine::matching`], makes one delivery per webhook, orders a commit.
//! 3. **Durable**: [`store::writer`] appends all that waits to the [`store::journal`], syncs once, answers, then brings the [`store::view`] up.
//! 4. **Accepted**: only now the client gets its `202`; the deliveries go into their lanes. Nothing is acknowledged or sent before it is durable.
//! 5. **Wheel**: one sleeping timer for the whole program; what comes due on the [`engine::wheel`] steps into its lane.
//! 6. **Lane**: as many as its window, rate and order allow are sent, turn by turn with all others ([`engine::lanes`]).
//! 7. **Out**: [`dispatch`] posts; whatever comes back, a panic included, becomes one outcome.
//! 8. **Again**: [`engine::retry`] decides. One fact, the attempt with its outcome and what follows, goes to the journal.
//!
//! # What is promised, and by what
//!
//! | promise | kept by |
//! | --- | --- |
//! | accepted is durable | [`store::writer`]: no answer before the sync; [`store::recovery`]: nothing acknowledged is cut |
//! | at least once, every attempt recorded | the law of state in [`engine`]; attempts ride with the next sync |
//! | never early | [`time::ScheduleClock`], [`engine::wheel`] |
//! | the schedule | [`engine::retry`] |
//! | fair | [`engine::lanes`] |
//! | bounded | [`limits`] |
//! | it tells of its own trouble, and never in a loop | [`engine::notices`] |
//! | a bad edit never takes the daemon down | [`config`], and `reload` in the daemon |

pub mod cli;
pub mod config;
pub mod daemon;
pub mod dispatch;
pub mod engine;
pub mod limits;
pub mod model;
pub mod server;
pub mod store;
pub mod time;
