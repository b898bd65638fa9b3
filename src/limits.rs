//! Every bound in the program, in one place, with the relations between them asserted at compile time. It never holds state.
//!
//! A bound that an operator may change is a default here and a key in `webhooks.toml`; the `*_MAX` beside it is as far
//! as the operator may go.

/// Bytes of one event as submitted, unless `[limits] max_event_size` says otherwise.
pub const EVENT_SIZE_DEFAULT: usize = 64 * 1024;
/// The largest `max_event_size` an operator may set: an event stays well inside one journal segment.
pub const EVENT_SIZE_MAX: usize = 1024 * 1024;
/// Bytes of one `POST /v1/events` body.
pub const REQUEST_SIZE_MAX: usize = 8 * 1024 * 1024;
/// Events of one `POST /v1/events` body.
pub const REQUEST_EVENTS_MAX: usize = 10_000;
/// Bytes of a body that is parsed where it was read; a longer one gets a thread that no connection waits for.
pub const INLINE_PARSE_MAX: usize = 64 * 1024;
/// Bytes of request bodies that are in memory at once, of all doors. While they are put together and read they take up to three times as much.
pub const REQUEST_BODIES_MAX: usize = 256 * 1024 * 1024;
/// Whoever sends bodies may hold so many times what is left free of that: one alone three quarters of it.
pub const REQUEST_BODIES_PER_FREE: usize = 3;
/// Bytes of that for which a body asks at once, while it arrives.
pub const REQUEST_BODY_STEP: usize = 64 * 1024;
/// Characters of a client's text that a message repeats.
pub const SHOWN_CHARACTERS_MAX: usize = 60;
/// Characters of one message about an event.
pub const EVENT_MESSAGE_MAX: usize = 400;
/// A request's body arrives within this time, or the request is refused.
pub const REQUEST_READ_TIMEOUT_MS: u64 = 30_000;
/// A request's headers arrive within this time, or the connection is closed.
pub const REQUEST_HEADERS_TIMEOUT_MS: u64 = 10_000;
/// Bytes of one request's headers over HTTP/1.1, and of what is read of its body at once.
pub const REQUEST_HEADERS_MAX: usize = 64 * 1024;
/// A TLS handshake is over within this time, or the connection is closed.
pub const TLS_HANDSHAKE_TIMEOUT_MS: u64 = 10_000;
/// TLS sessions that can be taken up again without a whole handshake; the oldest go.
pub const TLS_SESSIONS_MAX: usize = 4096;
/// Certificates in the listener's chain, its own included.
pub const TLS_CHAIN_MAX: usize = 16;
/// A connection over which nothing is asked for so long is closed. Over HTTP/1.1, [`REQUEST_HEADERS_TIMEOUT_MS`] is sooner.
pub const CONNECTION_IDLE_TIMEOUT_MS: u64 = 60_000;
/// A connection on which a request is worked on for so long is closed.
pub const ANSWERS_TIMEOUT_MS: u64 = 300_000;
/// A client that leaves its answers unread takes so many bytes of them …
pub const ANSWER_PACE_BYTES: u64 = 16 * 1024;
/// … within this time, or all there are, or the connection is closed.
pub const ANSWER_PACE_MS: u64 = 20_000;
/// Bytes of answers that wait to be taken, over all connections of a door. One for which there is no room waits [`INGEST_WAIT_MS`], and is then replaced by `503`.
pub const ANSWERS_MAX: usize = 128 * 1024 * 1024;
/// Bytes of an answer that has room in any case: that an event was accepted is always told.
pub const ANSWER_SMALL: usize = 1024;
/// Requests to the listener that are under way at once, over all connections; a further one is answered `503`.
pub const REQUESTS_MAX: usize = 8192;
/// Requests to the admin socket that are under way at once.
pub const ADMIN_REQUESTS_MAX: usize = 1024;
/// What a refused client still sends is read so long, so that it comes to listen to the answer.
pub const REFUSED_BODY_TIMEOUT_MS: u64 = 5000;
/// A publication waits at most this long for a permit; then it is answered `503`.
pub const INGEST_WAIT_MS: u64 = 1000;
/// Connections beyond the limit that are being told so at once; further ones wait.
pub const REFUSALS_MAX: usize = 64;
/// A connection beyond the limit is told so within this time.
pub const REFUSAL_TIMEOUT_MS: u64 = 1000;
/// Connections to the admin socket at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// HTTP/2 streams of one connection to the listener.
pub const HTTP2_STREAMS_MAX: u32 = 128;
/// Bytes of one request's headers over HTTP/2, unpacked.
pub const HTTP2_HEADERS_MAX: u32 = 16 * 1024;
/// Bytes that a client may send over one HTTP/2 connection, or stream, before they are read.
pub const HTTP2_WINDOW: u32 = 256 * 1024;
/// Bytes of answers that wait in one HTTP/2 connection for the client to take them.
pub const HTTP2_UNSENT_MAX: usize = 64 * 1024;
/// HTTP/2 streams that a client opened and took back before anybody looked at them; with one more the connection is closed (CVE-2023-44487).
pub const HTTP2_TAKEN_BACK_MAX: usize = 20;
/// HTTP/2 streams of one connection that were ended for what the client did wrong in them; with one more the connection is closed.
pub const HTTP2_MISTAKES_MAX: usize = 128;
/// An HTTP/2 client is asked this often whether it is there, and its connection is closed when it has not answered this long after.
pub const HTTP2_CLIENT_PING_MS: u64 = 30_000;
/// Requests under way when the doors close are waited for so long.
pub const DOORS_CLOSE_TIMEOUT_MS: u64 = 10_000;

/// Attempts under way at once, all webhooks (`[limits] max_in_flight`).
pub const IN_FLIGHT_DEFAULT: u32 = 1024;
/// The largest `[limits] max_in_flight`; queues between the threads are as deep as this.
pub const IN_FLIGHT_MAX: u32 = 8192;
/// Attempts under way at once for one webhook (`max_in_flight`).
pub const LANE_IN_FLIGHT_DEFAULT: u32 = 10;
/// Endpoints that can't be reached with one attempt at once are all together left alone so long between two attempts.
pub const KNOCK_REST_MS: u64 = 5;
/// Each of them is left alone so long at most.
pub const KNOCK_REST_MAX_MS: u64 = 1000;
/// Pending deliveries, all webhooks (`[limits] max_pending`).
pub const PENDING_DEFAULT: u32 = 10_000_000;
/// The largest `[limits] max_pending`: 48 bytes each make 4.8 GB.
pub const PENDING_MAX: u32 = 100_000_000;
/// Pending deliveries of one webhook (`max_pending_per_webhook`).
pub const PENDING_PER_WEBHOOK_DEFAULT: u32 = 1_000_000;
/// Connections to the listener at once (`[limits] max_connections`).
pub const CONNECTIONS_DEFAULT: u32 = 4096;

/// Publications (requests) that may be inside the engine and the writer at once; a further one is answered `503`.
pub const INGEST_PERMITS: usize = 256;
/// Deliveries that one publication can make, over all its events; beyond it the publication is refused.
pub const DELIVERIES_PER_PUBLICATION_MAX: usize = 1_000_000;
/// Attempts whose outcome is not on disk yet, those in flight included; at this many, sending stops.
pub const OUTCOME_CREDITS: usize = 16_384;
/// Operator commands that may be inside the engine at once.
pub const OPERATOR_PERMITS: usize = 64;
/// Questions for the figures of `/metrics` that may be inside the engine at once: they are asked one behind the other, and never in the place of an operator's.
pub const FIGURES_PERMITS: usize = 1;
/// An answer to `/metrics` is given so long to everybody who asks for it.
pub const METRICS_KEPT_MS: u64 = 1000;
/// Notices of the daemon that may be on their way to becoming durable events at once; what is to be told beyond that waits, and merges.
pub const NOTICES_MAX: usize = 64;
/// Publications of the daemon itself that may be inside the engine and the writer at once.
pub const TELLER_PERMITS: usize = 1;
/// An endpoint that fails is told with the first failed attempt, and with the first so long after that one.
pub const FAILING_TOLD_AFTER_MS: [u64; 3] = [0, 3_600_000, 6 * 3_600_000];
/// That a webhook fails anew, or that its deliveries are dropped, is told so often at most.
pub const NOTICE_REST_MS: u64 = 60_000;
/// Deliveries that are dropped within this time of the first are told with it.
pub const DROPS_GATHERED_MS: u64 = 5000;
/// The disk is told to be nearly full when less than this is free.
pub const DISK_LOW_BYTES: u64 = 300_000_000;
/// And again only after so much was free.
pub const DISK_WELL_BYTES: u64 = 350_000_000;
/// The room on the disk is looked at this often, while somebody wants to be told.
pub const DISK_LOOKED_AT_EVERY_MS: u64 = 5000;
/// A notice for which there is no room is tried again this often.
pub const NOTICE_RETRY_MS: u64 = 1000;
/// A list waits at most this long for the view to have what was written before.
pub const BARRIER_TIMEOUT_MS: u64 = 2000;
/// Deliveries on one page of a list, unless fewer or more are asked for.
pub const PAGE_DEFAULT: usize = 50;
/// Deliveries on one page of a list at most.
pub const PAGE_MAX: usize = 500;
/// Rows that are looked at for one page of a list; a page that is not full then says where to go on.
pub const PAGE_ROWS_MAX: usize = 20_000;
/// Attempts of a timeline that are shown.
pub const TIMELINE_MAX: usize = 1000;
/// How the attempts of a webhook went lately is counted in slices of so much time …
pub const RECENT_SLICE_MS: u64 = 60_000;
/// … of which so many count, the present one included.
pub const RECENT_SLICES: u32 = 5;
/// Entries of the wheel that are looked at to say when the next attempt of each webhook starts.
pub const OUTLOOK_ENTRIES_MAX: usize = 32_768;
/// Lanes that are looked at in one go by whoever wants to see the foremost of all, or what is due longest: the engine does something else in between.
pub const RANKED_LANES_MAX: usize = 8192;
/// Webhooks that `GET /v1/top` tells of, unless fewer or more are asked for.
pub const TOP_DEFAULT: usize = 20;
/// Webhooks that `GET /v1/top` tells of at most.
pub const TOP_MAX: usize = 500;
/// Due entries (or moved ones) that the engine handles in one call.
pub const DUE_PER_CALL_MAX: usize = 1024;
/// Depth of the engine's inbox: every permit that lets somebody speak to it, with its answer, and a tick.
pub const ENGINE_INBOX: usize = 2 * (INGEST_PERMITS + OUTCOME_CREDITS + OPERATOR_PERMITS + FIGURES_PERMITS + TELLER_PERMITS) + 16;
/// Depth of the writer's inbox: every credit under which the engine gives it an order.
pub const WRITER_INBOX: usize = INGEST_PERMITS + OUTCOME_CREDITS + OPERATOR_PERMITS + TELLER_PERMITS + 16;
/// Threads that read bodies from the journal.
pub const BODY_READERS: usize = 2;

/// A recorded attempt waits at most this long for a sync.
pub const APPEND_SYNC_DELAY_MS: u64 = 100;
/// The view is made durable this often.
pub const CHECKPOINT_EVERY_MS: u64 = 5000;
/// Webhooks that are gone from the configuration are looked after this often.
pub const ORPHANS_EVERY_MS: u64 = 1000;
/// Facts that may be in the journal and not yet in the view; beyond it the writer applies before it accepts.
pub const VIEW_LAG_MAX: usize = 65_536;
/// Rows written to the view in one step.
pub const VIEW_BATCH_ROWS: usize = 64;
/// Keys that one fact of a bulk change names.
pub const BULK_SLICE_KEYS: usize = 1000;
/// Deliveries that are taken up again in one go, each with its event and its attempts.
pub const REOPEN_SLICE_KEYS: usize = 100;
/// Bytes of one journal segment.
pub const SEGMENT_SIZE: u64 = 64 * 1024 * 1024;
/// Prepared segments that wait to be used: the next one, and one that is reserved for outcomes and operators when the disk is full.
pub const SPARE_SEGMENTS: usize = 2;
/// The next segment is tried to be prepared this often while the disk is full.
pub const SPARE_RETRY_MS: u64 = 1000;
/// With less than this free on the disk nothing is applied to the view: sled fails for good when its disk is full, and what it has in its cache
/// (64 MiB) may still come after the last thing that was applied.
pub const VIEW_ROOM_MIN: u64 = 64 * 1024 * 1024;
/// With so much free the view goes on; more than what stops it, so that it does not stop and go on with every row. Preparing a segment leaves so much.
pub const VIEW_ROOM_AGAIN: u64 = VIEW_ROOM_MIN + 16 * 1024 * 1024;
/// The view's file is copied into a fresh one when it is larger than this …
pub const VIEW_TIDY_SIZE_MIN: u64 = 256 * 1024 * 1024;
/// … and so many times as large as what is in it: sled does not give all room again to what comes.
pub const VIEW_TIDY_TIMES: u64 = 4;
/// Bytes of the ballast: what a start needs on a full disk, which is the new segment that every start makes, and room for the view.
pub const BALLAST_SIZE: u64 = SEGMENT_SIZE + VIEW_ROOM_AGAIN;
/// Bytes of one frame's payload: a delivered body with its deliveries.
pub const FRAME_PAYLOAD_MAX: usize = EVENT_SIZE_MAX + 4 * 1024 * 1024;
/// Bytes of memory that what one record says of itself may claim: damaged ones claim anything. What a record holds takes a few times its bytes, as numbers are short on disk.
pub const RECORD_MEMORY_MAX: usize = 16 * FRAME_PAYLOAD_MAX;
/// Bytes that one atomic batch takes in the journal at most.
pub const BATCH_BYTES_MAX: u64 = 40 * 1024 * 1024;
/// Indexes of the history whose summaries stay in memory, some 300 kB each: as many as `[history] max_size` has segments by default.
pub const HISTORY_INDEXES_OPEN_MAX: usize = 160;
/// Work of the history, such as the index of a sealed segment, is looked for this often.
pub const HISTORY_WORK_EVERY_MS: u64 = 1000;
/// Facts that are read for one answer to somebody who follows the deliveries.
pub const FOLLOWED_FACTS_MAX: usize = 20_000;
/// Facts about deliveries in one answer to somebody who follows them.
pub const FOLLOWED_PAGE_MAX: usize = 500;
/// A question for what happens next waits at most this long.
pub const FOLLOW_WAIT_MAX_MS: u64 = 30_000;
/// Attempts of one delivery that are carried with it when its segment goes, the newest.
pub const CARRIED_ATTEMPTS_MAX: usize = TIMELINE_MAX;
/// Bytes that retention gathers before it has them carried; at most a 16th of a segment, and at least one frame.
pub const CARRY_SLICE_BYTES: usize = 1024 * 1024;
/// Deliveries that retention asks the engine about at once.
pub const CARRY_SLICE_KEYS: usize = 1024;
/// Segments that retention lets go at once, when they go because of `[history] max_size`.
pub const SEGMENTS_DROPPED_MAX: usize = 8;
/// Segments that go because of their age go one by one, so long apart.
pub const DROP_BY_AGE_EVERY_MS: u64 = 60_000;
/// Retention looks this often whether something is to go.
pub const RETENTION_EVERY_MS: u64 = 1000;
/// Retention looks this often whether attempts that began before their event was carried have ended.
pub const RETENTION_POLL_MS: u64 = 100;
/// After something went wrong retention tries again so much later.
pub const RETENTION_RETRY_MS: u64 = 60_000;

/// Bytes before the `@` of a mail address (RFC 5321, 4.5.3.1.1).
pub const ADDRESS_LOCAL_PART_MAX: usize = 64;
/// Bytes of a mail address: the local part, the `@`, and the longest name that fits DNS.
pub const ADDRESS_LENGTH_MAX: usize = ADDRESS_LOCAL_PART_MAX + 1 + 253;
/// Letters of what is no mail address that an error message repeats.
pub const ADDRESS_SHOWN_MAX: usize = 100;
/// Letters of an operator's name, or of a note, in a Black List.
pub const REMARK_LENGTH_MAX: usize = 200;
/// Entries of one request that imports into a Black List.
pub const BLACKLIST_IMPORT_MAX: usize = 10_000;

/// `Retry-After` puts an attempt at most this much later than the schedule would.
pub const RETRY_AFTER_EXTRA_MAX_MS: u64 = 3_600_000;
/// The longest interval a schedule may name.
pub const RETRY_INTERVAL_MAX_MS: u64 = 30 * 24 * 3_600_000;
/// Attempts that one round of a schedule may have.
pub const ATTEMPTS_MAX: u32 = 200;
/// The longest time-out of one attempt.
pub const TIMEOUT_MAX_MS: u64 = 300_000;
/// The engine looks at the clock at least this often.
pub const WAKEUP_MAX_MS: u64 = 1000;

/// Bytes of a response body that are read; the rest is not waited for.
pub const RESPONSE_READ_MAX: usize = 64 * 1024;
/// Bytes of a response body that are kept with the attempt.
pub const RESPONSE_EXCERPT_MAX: usize = 1024;
/// Bytes of a response's headers.
pub const RESPONSE_HEADERS_MAX: usize = 64 * 1024;
/// Bytes that a connection may send at full speed beyond those that answers account for, as far as they have come; then it is read slowly. More than a handshake with a long chain of certificates
/// and the headers of any usual answer, for which nothing accounts until they are whole; the largest that are taken need a second.
pub const UNASKED_READ_MAX: usize = 32 * 1024;
/// Bytes for which an answer accounts beyond its headers and its body: frames, records of TLS, an informational answer before it.
pub const ANSWER_OVERHEAD_MAX: usize = 4 * 1024;
/// Bytes that are read of a slow connection between two rests: with frames of nine bytes, which are the smallest, some 230.
pub const SLOW_READ_STEP: usize = 2 * 1024;
/// Bytes that a connection is read without letting others have their turn: it takes longer to go through them than to read them.
pub const READ_TURN: usize = 1024;
/// A connection that is read slowly rests so long: it has some 40 KiB a second.
pub const SLOW_READ_REST_MS: u64 = 50;
/// Idle connections kept for one endpoint: more than a lane has in flight by default, for what a busy lane can't keep between two attempts it opens anew, TLS and all.
pub const IDLE_PER_HOST: usize = 16;
/// How long an idle connection is kept.
pub const IDLE_TIMEOUT_MS: u64 = 30_000;
/// A connection that rested for this part of that time may have been closed just for it: a request that crosses with its end is sent once more. Servers keep idle connections for two seconds
/// and more.
pub const RESTED_PART: u64 = 30;
/// Connections to endpoints, idle ones included; beyond it the idle ones are dropped.
pub const OUTGOING_CONNECTIONS_MAX: usize = 16_384;
/// Different pairs of an egress policy (set of `allow_networks`) and a TLS identity whose idle connections are kept; beyond it the idle ones are dropped.
pub const EGRESS_POLICIES_MAX: usize = 1024;
/// The answer that a name does not exist is remembered at most this long, whatever its zone says.
pub const DNS_ABSENCE_KEPT_MS: u64 = 30_000;
/// While more addresses wait to be tried, one is given at least this long to answer, where the attempt has so much time left.
pub const CONNECT_SHARE_MIN_MS: u64 = 2000;
/// A connection that no attempt waits for any more is given up this long after the time-out of the attempt that began it.
pub const CONNECT_ALONE_MS: u64 = 1000;
/// An HTTP/2 connection is asked whether it is alive this often, and given up when it has not answered this long after.
pub const HTTP2_PING_MS: u64 = 5000;
/// When a name has addresses of one family, those of the other are waited for so long (RFC 8305, section 3, has the same figure for the same wait).
pub const DNS_OTHER_FAMILY_MS: u64 = 50;
/// Addresses of one DNS answer that are considered.
pub const RESOLVED_ADDRESSES_MAX: usize = 32;
/// Sockets that systemd may pass. Two can be used; what is wrong with a third is said of it.
pub const PASSED_SOCKETS_MAX: usize = 16;
/// Attempts that may still run after SIGTERM, before they are given up.
pub const DRAIN_TIMEOUT_MS: u64 = 25_000;
/// A wheel that is so far behind the clock is stuck, and systemd's watchdog is not fed any more.
pub const WATCHDOG_LATENESS_MAX_MS: u64 = 10_000;
/// One step of opening the store takes no longer; systemd is told so at each of them.
pub const OPENING_STEP_MAX_MS: u32 = 60_000;
/// systemd hears at most so often how things stand.
pub const STATUS_EVERY_MS: u64 = 2000;

/// Events that `emit --file` sends in one request.
pub const EMIT_BATCH_EVENTS: usize = 1000;
/// Bytes that `emit --file` sends in one request; also of its longest line.
pub const EMIT_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long `emit` waits for a busy daemon in all, for one request.
pub const EMIT_WAIT_MAX_S: u64 = 600;
/// How long a command waits for a connection.
pub const COMMAND_CONNECT_TIMEOUT_MS: u64 = 10_000;
/// A command that waits for a backup, or for a verification, asks this often how far it is.
pub const OPERATION_POLL_MS: u64 = 100;
/// How long a command waits for the whole answer.
pub const COMMAND_TIMEOUT_MS: u64 = 60_000;
/// Bytes of an answer that a command reads.
pub const COMMAND_ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Deliveries that a command asks for in one request.
pub const COMMAND_PAGE_MAX: usize = 500;

const _: () = assert!(EMIT_BATCH_EVENTS <= REQUEST_EVENTS_MAX && EMIT_BATCH_BYTES <= REQUEST_SIZE_MAX);
const _: () = assert!(EVENT_SIZE_MAX < EMIT_BATCH_BYTES, "every event that may be accepted fits into a request");
/// Webhooks of the admin socket that there may be at once.
pub const ADMIN_WEBHOOKS_MAX: usize = 10_000;
/// Bytes of the definition of one of them.
pub const DEFINITION_SIZE_MAX: usize = 64 * 1024;
/// Tokens that the daemon made and that there may be at once.
pub const ISSUED_TOKENS_MAX: usize = 1000;
/// For so long a secret still signs after it was replaced, unless something else is said.
pub const ROTATION_GRACE_DEFAULT_MS: u64 = 24 * 3_600_000;
/// The longest time for which a secret may still sign after it was replaced.
pub const ROTATION_GRACE_MAX_MS: u64 = 30 * 24 * 3_600_000;
/// Sample events that may be under way at once.
pub const TRIALS_MAX: usize = 4;
/// A sample event has at most so much time, whatever the webhook's time-out is, so that whoever waits for it gets an answer.
pub const TRIAL_TIMEOUT_MAX_MS: u64 = 30_000;
/// Whether an address may be dialled is found out ahead within so long, or not at all.
pub const JUDGE_AHEAD_MS: u64 = 2000;
/// Bytes of `webhooks.toml`.
pub const CONFIG_SIZE_MAX: u64 = 32 * 1024 * 1024;
/// Mistakes of one configuration that are told apart; of more, only the number is told.
pub const MISTAKES_SHOWN_MAX: usize = 1000;
/// The longest duration that a key of `webhooks.toml` may name, where no narrower bound holds: ten years.
pub const DURATION_MAX_MS: u64 = 3650 * 24 * 3_600_000;
/// The largest `[limits] max_connections`.
pub const CONNECTIONS_MAX: u32 = 65_536;
/// The largest count in a webhook's `rate`.
pub const RATE_COUNT_MAX: u32 = 1_000_000;
/// Characters of a webhook's title, a token's name or an event type's label.
pub const TITLE_LENGTH_MAX: usize = 200;
/// Characters of a webhook's URL.
pub const URL_LENGTH_MAX: usize = 2048;
/// Headers that a webhook may add.
pub const HEADERS_MAX: usize = 32;
/// Bytes of the name or the value of a header that a webhook adds.
pub const HEADER_LENGTH_MAX: usize = 4096;
/// Bytes of a PEM file: the certificates of every public authority take a quarter of it.
pub const PEM_FILE_SIZE_MAX: u64 = 1 << 20;
/// Bytes of a file that holds a secret.
pub const SECRET_FILE_SIZE_MAX: u64 = 4096;
/// Bytes of a Unix socket's path: what `sun_path` takes besides its final zero (unix(7)).
pub const SOCKET_PATH_LENGTH_MAX: usize = 107;

/// Sandboxes that may exist at once; a further one is refused.
pub const SANDBOXES_MAX: usize = 64;
/// Requests that a sandbox keeps, the newest.
pub const SANDBOX_REQUESTS_KEPT: usize = 500;
/// Bytes of the kept requests of one sandbox, as they are written; beyond it the oldest go, however few there are. Its file may have twice as many.
pub const SANDBOX_SIZE_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a request's body that a sandbox reads; a longer one is answered `413`.
pub const SANDBOX_BODY_READ_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a request's body that a sandbox keeps.
pub const SANDBOX_BODY_KEPT_MAX: usize = 16 * 1024;
/// Bytes of a request's headers that a sandbox keeps.
pub const SANDBOX_HEADERS_KEPT_MAX: usize = 8 * 1024;
/// Characters of a request's path and query that a sandbox keeps.
pub const SANDBOX_TARGET_KEPT_MAX: usize = 2048;
/// Bytes of bodies that all sandboxes have in memory at once; beyond it the answer is `503`.
pub const SANDBOX_BODIES_MAX: usize = 32 * 1024 * 1024;
/// Requests to sandboxes that may be under way at once, those that wait on purpose included; a further one is answered `503`.
pub const SANDBOX_IN_FLIGHT_MAX: usize = 256;
/// Requests to sandboxes that may use the disk at once; the others wait.
pub const SANDBOX_DISK_USERS_MAX: usize = 4;
/// Pages and lists of sandboxes that may be in memory at once, each up to a few times [`SANDBOX_SIZE_MAX`] in the worst case; a further one waits.
pub const SANDBOX_LOOKS_MAX: usize = 8;
/// Who wants to look at a sandbox waits at most this long for a place; then the answer is `503`.
pub const SANDBOX_LOOK_WAIT_MS: u64 = 2000;
/// The longest delay that a sandbox may be told.
pub const SANDBOX_DELAY_MAX_MS: u64 = 60_000;
/// The most failures that a sandbox may be told, before one attempt succeeds.
pub const SANDBOX_FAIL_FIRST_MAX: u32 = 100;
/// The longest `Retry-After` that a sandbox may be told.
pub const SANDBOX_RETRY_AFTER_MAX_S: u32 = 86_400;
/// Seconds by which a signature's timestamp may differ from the clock, as the libraries of Standard Webhooks have it.
pub const SIGNATURE_TOLERANCE_S: u64 = 300;
/// Requests on one page of a sandbox in a browser, unless more are asked for.
pub const SANDBOX_PAGE_DEFAULT: usize = 50;
/// A question for a sandbox's next request waits at most this long.
pub const SANDBOX_WAIT_MAX_MS: u64 = 30_000;

const _: () = assert!(EVENT_SIZE_DEFAULT <= EVENT_SIZE_MAX);
const _: () = assert!(CONNECTIONS_DEFAULT <= CONNECTIONS_MAX);
const _: () = assert!(RETRY_INTERVAL_MAX_MS <= DURATION_MAX_MS);
const _: () = assert!(EVENT_SIZE_MAX <= REQUEST_SIZE_MAX);
const _: () = assert!(REQUEST_SIZE_MAX <= REQUEST_BODIES_MAX);
const _: () = assert!(
    SANDBOX_DELAY_MAX_MS + REQUEST_READ_TIMEOUT_MS + REFUSED_BODY_TIMEOUT_MS < ANSWERS_TIMEOUT_MS
        && CONNECTION_IDLE_TIMEOUT_MS < ANSWERS_TIMEOUT_MS,
    "no answer takes so long as the answers of a connection are waited for"
);
const _: () = assert!(
    REQUEST_BODIES_MAX / REQUEST_BODY_STEP + SANDBOX_IN_FLIGHT_MAX < REQUESTS_MAX,
    "bodies are refused for want of room before requests are"
);
const _: () = assert!(HTTP2_STREAMS_MAX as usize * ADMIN_CONNECTIONS_MAX >= ADMIN_REQUESTS_MAX);
const _: () = assert!(IN_FLIGHT_DEFAULT <= IN_FLIGHT_MAX);
const _: () = assert!(IN_FLIGHT_MAX as usize <= OUTCOME_CREDITS, "an attempt in flight holds an outcome credit");
const _: () = assert!(IN_FLIGHT_MAX as usize <= OUTGOING_CONNECTIONS_MAX, "every attempt in flight may need a connection of its own");
const _: () = assert!(LANE_IN_FLIGHT_DEFAULT <= IN_FLIGHT_DEFAULT);
const _: () = assert!(IDLE_PER_HOST >= LANE_IN_FLIGHT_DEFAULT as usize);
const _: () = assert!(PENDING_DEFAULT <= PENDING_MAX && PENDING_PER_WEBHOOK_DEFAULT <= PENDING_DEFAULT);
const _: () = assert!(BATCH_BYTES_MAX < SEGMENT_SIZE, "a batch never spans segments");
const _: () = assert!(SPARE_SEGMENTS >= 2, "the next one, and the reserve");
const _: () = assert!(
    VIEW_ROOM_MIN < VIEW_ROOM_AGAIN && BALLAST_SIZE >= SEGMENT_SIZE + VIEW_ROOM_AGAIN,
    "a start has room for its segment and the view"
);
const _: () = assert!(FRAME_PAYLOAD_MAX as u64 <= BATCH_BYTES_MAX);
const _: () = assert!(
    SEGMENT_SIZE + VIEW_ROOM_AGAIN < DISK_LOW_BYTES && DISK_LOW_BYTES < DISK_WELL_BYTES,
    "it is told before events are refused, and not each time that a little comes and goes"
);
const _: () =
    assert!(CARRIED_ATTEMPTS_MAX * (RESPONSE_EXCERPT_MAX + 2048) < 4 * 1024 * 1024, "what is carried of one delivery fits into a frame");
const _: () = assert!(REQUEST_SIZE_MAX as u64 * 2 <= BATCH_BYTES_MAX, "a full request fits into one batch");
const _: () = assert!(
    BULK_SLICE_KEYS * (ADDRESS_LENGTH_MAX + 2 * 4 * REMARK_LENGTH_MAX + 64) <= FRAME_PAYLOAD_MAX,
    "a slice of an import fits into one frame, however long its remarks are"
);
const _: () = assert!(EMIT_BATCH_EVENTS <= BLACKLIST_IMPORT_MAX, "what `blacklist import` sends in one request is taken");
const _: () = assert!(SANDBOX_BODY_READ_MAX >= 2 * EVENT_SIZE_MAX, "every delivered body can be read whole, and so be checked");
const _: () = assert!(SANDBOX_BODY_READ_MAX <= SANDBOX_BODIES_MAX);
const _: () = assert!((SANDBOX_REQUESTS_KEPT * (SANDBOX_BODY_KEPT_MAX + SANDBOX_HEADERS_KEPT_MAX + 4096)) as u64 <= SANDBOX_SIZE_MAX);
const _: () = assert!(SANDBOX_FAIL_FIRST_MAX as usize <= SANDBOX_REQUESTS_KEPT, "failures are counted among the requests that are kept");
const _: () = assert!(SANDBOX_WAIT_MAX_MS < COMMAND_TIMEOUT_MS);
const _: () = assert!(FOLLOW_WAIT_MAX_MS < COMMAND_TIMEOUT_MS);
const _: () = assert!(TRIAL_TIMEOUT_MAX_MS < COMMAND_TIMEOUT_MS);
const _: () = assert!(DEFINITION_SIZE_MAX <= FRAME_PAYLOAD_MAX);
const _: () = assert!(DRAIN_TIMEOUT_MS < 90_000, "systemd's default stop time-out");
