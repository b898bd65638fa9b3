//! The world of one seed: virtual time, and everything that happens in it, one thing after the other. It never looks at a real clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use hookwheel::model::{DeliveryKey, Locator, Outcome, Project, WebhookId, WebhookNumber, WebhookSpec};
use hookwheel::time::UnixMillis;

use crate::clients::Clients;
use crate::defects::Defect;
use crate::endpoints::Mood;
use crate::hallway::Daemon;
use crate::laws::{self, Broken, Law, require};
use crate::ledger::Ledger;
use crate::medium::SimMedium;
use crate::mirror::LaneMirror;
use crate::random::Rng;
use crate::table::SimTable;
use crate::trace::{Field, Trace};
use crate::view;
use crate::workload::{HOUR, MINUTE, Plan};

const WALL_AT_START: u64 = 1_795_428_000_000;
/// Within so long everything that is not paused must have drained once nothing goes wrong any more.
const DRAINED_WITHIN_MS: u64 = 40 * HOUR;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    Publish,
    /// A client asks again.
    Resend(usize),
    AttemptEnds {
        incarnation: u64,
        key: DeliveryKey,
        /// Where its event lay when it began.
        body: Locator,
        outcome: Outcome,
    },
    Operator,
    OperatorActs,
    MoodChanges,
    SuddenEnd,
    PowerGoes,
    /// The process dies in the middle of some call.
    PlanDeath,
    Trouble,
    TroubleEnds,
    DiskFills,
    DiskHasRoom,
    DiskBeginsToLie,
    Start,
    /// The view is not brought up for a while.
    Lull,
}

/// A happening with its moment; the number keeps those of one moment in the order in which they were planned.
pub(crate) struct Planned {
    at_ms: u64,
    number: u64,
    what: Happening,
}

/// How things stood before something happened.
pub(crate) struct Before {
    /// So many facts had been acknowledged.
    pub(crate) acknowledged: usize,
    /// The view, which follows what was synced.
    pub(crate) table: SimTable,
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) plan: Plan,
    pub(crate) defect: Defect,
    pub(crate) medium: SimMedium,
    pub(crate) table: SimTable,
    pub(crate) ledger: Ledger,
    pub(crate) clients: Clients,
    pub(crate) daemon: Option<Box<Daemon>>,
    /// The configuration file.
    pub(crate) definitions: BTreeMap<WebhookId, WebhookSpec>,
    pub(crate) moods: BTreeMap<WebhookNumber, Mood>,
    /// What was answered with 202, and with how many deliveries.
    pub(crate) answered: BTreeMap<(Project, String), u32>,
    pub(crate) sends: HashMap<DeliveryKey, u32>,
    /// Attempts that may be repeated because their record was lost in a crash.
    pub(crate) repeats: HashMap<DeliveryKey, u32>,
    /// The most attempts that a webhook's schedules ever had.
    pub(crate) longest: BTreeMap<WebhookNumber, u32>,
    pub(crate) webhooks_made: u64,
    /// So much was told by daemons about themselves.
    pub(crate) notices: u64,
    pub(crate) incarnation: u64,
    /// What the wall clock shows more, or less, than at the beginning and the time that has passed.
    pub(crate) wall_offset_ms: i64,
    /// The wall clock stands still at this moment.
    pub(crate) wall_stands_at: Option<UnixMillis>,
    /// The latest that a schedule clock ever showed; after a step back of the wall clock a new process may begin before it.
    pub(crate) latest_schedule: UnixMillis,
    /// The daemon ended in order, so its next start has nothing to repair.
    pub(crate) ended_well: bool,
    /// Since the last start the disk lied: what was acknowledged may be lost with the power.
    pub(crate) lied: bool,
    /// The journal rotted: from then on the ledger knows nothing for sure.
    pub(crate) rotten: bool,
    /// Until when the disk was full the last time.
    pub(crate) full_until: Option<u64>,
    /// What came about, so that a test can say that the seeds reach it.
    pub(crate) reached: BTreeSet<&'static str>,
    /// Errors that the store reported.
    pub(crate) reported: u64,
    /// Nothing goes wrong any more.
    pub(crate) is_calm: bool,
    happenings: BinaryHeap<Reverse<Planned>>,
    planned: u64,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

impl World {
    pub(crate) fn new(seed: u64, defect: Defect, readable: bool) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::of(&mut rng.fork());
        plan.lies &= defect == Defect::None;
        let medium = SimMedium::new(rng.fork());
        let table = SimTable::new(medium.daemon(), rng.fork());
        let definitions = plan.webhooks.iter().map(|spec| (spec.id.clone(), spec.clone())).collect::<BTreeMap<_, _>>();
        let ledger = Ledger { window_ms: plan.idempotency_window_ms, ..Ledger::default() };
        Self {
            now_ms: 0,
            trace: Trace::new(readable),
            defect,
            medium,
            table,
            ledger,
            clients: Clients::default(),
            daemon: None,
            webhooks_made: definitions.len() as u64,
            notices: 0,
            definitions,
            moods: BTreeMap::new(),
            answered: BTreeMap::new(),
            sends: HashMap::new(),
            repeats: HashMap::new(),
            longest: BTreeMap::new(),
            incarnation: 0,
            wall_offset_ms: 0,
            wall_stands_at: None,
            latest_schedule: UnixMillis(0),
            ended_well: true,
            lied: false,
            rotten: false,
            full_until: None,
            reached: BTreeSet::new(),
            reported: 0,
            is_calm: false,
            happenings: BinaryHeap::new(),
            planned: 0,
            rng,
            plan,
        }
    }

    /// Lets everything happen, and then goes on until nothing is pending that could be sent.
    pub(crate) fn run(&mut self) -> Law {
        self.plan_beginning();
        while self.now_ms < self.plan.active_ms {
            self.step()?;
        }
        self.calm_down();
        self.come_to_rest()?;
        self.stop_in_order()?;
        self.start()?;
        require("the store opens", self.daemon.is_some(), || "not after a stop in order".into())?;
        self.come_to_rest()?;
        if self.rotten {
            return Ok(());
        }
        self.old_segments_go()?;
        laws::accepted_is_never_lost(&self.ledger, &self.answered)?;
        laws::attempts_never_exceed_the_schedule(&self.ledger, &self.sends, &self.repeats, &self.longest)
    }

    /// Lets everything happen, and after each thing has somebody look at it.
    pub(crate) fn run_watched(&mut self, look: &mut dyn FnMut(&mut Self, &Before) -> Law) -> Law {
        self.plan_beginning();
        while self.now_ms < self.plan.active_ms {
            let before = Before { acknowledged: self.ledger.acknowledged, table: self.table.copy(self.medium.daemon(), 0) };
            self.step()?;
            look(self, &before)?;
        }
        Ok(())
    }

    /// Goes on until nothing is under way or waits that could be sent.
    pub(crate) fn come_to_rest(&mut self) -> Law {
        let latest = self.now_ms + DRAINED_WITHIN_MS;
        while !self.has_drained() {
            require("the queue drains when faults stop", self.now_ms < latest, || self.left_over())?;
            self.step()?;
        }
        self.check_at_rest()
    }

    /// Plans something for `delay_ms` from now.
    pub(crate) fn plan_in(&mut self, delay_ms: u64, what: Happening) {
        self.planned += 1;
        self.happenings.push(Reverse(Planned { at_ms: self.now_ms + delay_ms, number: self.planned, what }));
    }

    /// What the wall clock shows.
    pub(crate) fn wall(&self) -> UnixMillis {
        self.wall_stands_at.unwrap_or_else(|| UnixMillis((WALL_AT_START + self.now_ms).saturating_add_signed(self.wall_offset_ms)))
    }

    /// Somebody sets the wall clock, or its battery is empty: the next process begins with another one.
    pub(crate) fn wall_jumps(&mut self) {
        const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;
        let [seven_hours_ms, wall_at_start_ms] = [7 * HOUR, WALL_AT_START].map(|ms| i64::try_from(ms).expect("it is below 2^63"));
        self.wall_stands_at = None;
        match self.rng.below(6) {
            0 => self.wall_offset_ms += seven_hours_ms,
            1 => self.wall_offset_ms -= seven_hours_ms,
            2 => self.wall_offset_ms += TEN_YEARS_MS,
            3 => self.wall_offset_ms = -wall_at_start_ms,
            4 => self.wall_stands_at = Some(self.wall()),
            _ => self.wall_offset_ms = 0,
        }
        let shows = self.wall().0;
        self.note("the wall clock jumps", &[("to", shows)]);
    }

    pub(crate) fn note(&mut self, what: &'static str, fields: &[Field]) {
        self.reached.insert(what);
        self.trace.note(self.now_ms, what, fields);
    }

    pub(crate) fn remark(&mut self, what: &str) {
        self.trace.remark(self.now_ms, what);
    }

    /// The store reports that something went wrong.
    pub(crate) fn report(&mut self, what: &str) {
        self.reported += 1;
        self.remark(what);
    }

    /// Around `mean_ms`, from almost nothing to twice as long.
    pub(crate) fn around(&mut self, mean_ms: u64) -> u64 {
        1 + self.rng.below(2 * mean_ms.max(1))
    }

    fn plan_beginning(&mut self) {
        if self.rng.one_in(10) {
            self.wall_jumps();
        }
        self.plan_in(0, Happening::Start);
        self.plan_in(10, Happening::Publish);
        for (mean_ms, what) in [
            (self.plan.operator_every_ms, Happening::Operator),
            (self.plan.mood_every_ms, Happening::MoodChanges),
            (self.plan.crash_every_ms, Happening::SuddenEnd),
            (self.plan.crash_every_ms, Happening::PlanDeath),
            (self.plan.trouble_every_ms, Happening::Trouble),
            (self.plan.fills_every_ms, Happening::DiskFills),
            (20 * MINUTE, Happening::Lull),
        ] {
            let delay_ms = self.around(mean_ms);
            self.plan_in(delay_ms, what);
        }
        if self.plan.lies {
            let delay_ms = self.around(self.plan.active_ms / 2);
            self.plan_in(delay_ms, Happening::DiskBeginsToLie);
        }
        match self.defect {
            Defect::DiskLies => self.medium.set_lies(true),
            Defect::DirectoryLies => self.medium.set_directory_lies(true),
            _ => {}
        }
    }

    /// Lets the next thing happen, whatever is first.
    pub(crate) fn step(&mut self) -> Law {
        let nobody = (u64::MAX, u64::MAX, u64::MAX);
        let daemon = self.daemon.as_ref();
        let (engine_at, writer_at, archivist_at) =
            daemon.map_or(nobody, |daemon| (daemon.engine_at, daemon.writer_at, daemon.archivist.at));
        let heap_at = self.happenings.peek().map_or(u64::MAX, |Reverse(planned)| planned.at_ms);
        let at_ms = engine_at.min(writer_at).min(archivist_at).min(heap_at);
        require("the queue drains when faults stop", at_ms < u64::MAX, || format!("nothing will ever happen again: {}", self.left_over()))?;
        self.now_ms = self.now_ms.max(at_ms);
        if heap_at == at_ms {
            let Some(Reverse(planned)) = self.happenings.pop() else { return Ok(()) };
            return self.happen(planned.what);
        }
        match at_ms {
            _ if engine_at == at_ms => self.engine_step(),
            _ if writer_at == at_ms => self.writer_step(),
            _ => self.archivist_step(),
        }
    }

    fn happen(&mut self, what: Happening) -> Law {
        match what {
            Happening::Publish => self.publish(),
            Happening::Resend(publication) => self.resend(publication),
            Happening::AttemptEnds { incarnation, key, body, outcome } => self.attempt_ends(incarnation, key, body, outcome)?,
            Happening::Start => self.start()?,
            Happening::TroubleEnds => self.set_trouble(0),
            Happening::DiskHasRoom => self.disk_has_room(),
            _ if self.is_calm => {}
            Happening::Operator => self.operator()?,
            Happening::OperatorActs => self.operator_acts()?,
            Happening::MoodChanges => self.mood_changes(),
            Happening::SuddenEnd => {
                self.sudden_end();
                let delay_ms = self.around(self.plan.crash_every_ms);
                self.plan_in(delay_ms, Happening::SuddenEnd);
            }
            Happening::PowerGoes => self.power_goes(),
            Happening::PlanDeath => {
                let changes = self.rng.between(1, 30);
                self.medium.die_after(changes);
                let delay_ms = self.around(self.plan.crash_every_ms);
                self.plan_in(delay_ms, Happening::PlanDeath);
            }
            Happening::Trouble => {
                let per_million = *self.rng.pick(&[2000, 20_000, 200_000]);
                self.set_trouble(per_million);
                let (lasts_ms, delay_ms) = (self.around(MINUTE), self.around(self.plan.trouble_every_ms));
                self.plan_in(lasts_ms, Happening::TroubleEnds);
                self.plan_in(lasts_ms + delay_ms, Happening::Trouble);
            }
            Happening::DiskFills => self.disk_fills(),
            Happening::DiskBeginsToLie => self.disk_begins_to_lie(),
            Happening::Lull => self.lull(),
        }
        Ok(())
    }

    fn set_trouble(&mut self, per_million: u64) {
        self.note("disk errors per million", &[("rate", per_million)]);
        self.medium.set_faults(per_million);
        self.table.set_faults(per_million / 4);
    }

    /// Somebody fills the disk, sometimes to the last byte.
    fn disk_fills(&mut self) {
        let (room, starved) = (self.rng.below(2 * self.plan.segment_size), self.rng.one_in(3));
        self.note("the disk is full", &[("room", room), ("starved", starved.into())]);
        self.medium.fill(room, self.plan.segment_size, starved);
        self.full_until = Some(u64::MAX);
        self.disk_is_measured(0);
        // What is accepted into the last segments has more outcomes than the reserve takes.
        for _ in 0..self.rng.below(60) {
            self.publish_something();
        }
        let (lasts_ms, delay_ms) = (self.around(HOUR), self.around(self.plan.fills_every_ms));
        self.plan_in(lasts_ms, Happening::DiskHasRoom);
        self.plan_in(lasts_ms + delay_ms, Happening::DiskFills);
    }

    fn disk_has_room(&mut self) {
        self.note("the disk has room again", &[]);
        self.medium.make_room();
        self.disk_is_measured(u64::MAX);
        if self.full_until == Some(u64::MAX) {
            self.full_until = Some(self.now_ms);
        }
    }

    fn mood_changes(&mut self) {
        let numbers = self.moods.keys().copied().collect::<Vec<_>>();
        if !numbers.is_empty() {
            let number = *self.rng.pick(&numbers);
            let mood = Mood::any(&mut self.rng);
            self.remark(&format!("endpoint {} is {mood:?}", number.0));
            self.moods.insert(number, mood);
        }
        let delay_ms = self.around(self.plan.mood_every_ms);
        self.plan_in(delay_ms, Happening::MoodChanges);
    }

    /// From here on nothing goes wrong.
    fn calm_down(&mut self) {
        self.remark("nothing goes wrong any more");
        if self.lied {
            self.power_goes();
        }
        self.is_calm = true;
        self.set_trouble(0);
        self.disk_has_room();
        self.medium.never_die();
        self.medium.fail_no_more();
        for mood in self.moods.values_mut() {
            *mood = Mood::Well;
        }
    }

    fn has_drained(&self) -> bool {
        let is_idle = |daemon: &Daemon| {
            let may_wait = |lane: &LaneMirror| daemon.mirror.sending_paused || !lane.is_open();
            daemon.is_idle() && daemon.mirror.lanes.values().all(|lane| may_wait(lane) || lane.waiting.is_empty())
        };
        let removed = |daemon: &Daemon| daemon.mirror.lanes.values().any(|lane| lane.removed && !lane.waiting.is_empty());
        !self.clients.has_open() && self.daemon.as_ref().is_some_and(|daemon| is_idle(daemon) && !removed(daemon))
    }

    fn left_over(&self) -> String {
        let Some(daemon) = &self.daemon else { return "the daemon is down".into() };
        let lanes = daemon.mirror.lanes.iter().filter(|(_, lane)| !lane.waiting.is_empty());
        let lanes = lanes.map(|(number, lane)| {
            let (removed, open, first) = (lane.removed, lane.is_open(), lane.waiting.first_key_value());
            format!("webhook {}: {} wait, removed {removed}, open {open}, the first {first:?}", number.0, lane.waiting.len())
        });
        let open = self.clients.has_open();
        format!("clients wait: {open}; idle: {}; {}", daemon.is_idle(), lanes.collect::<Vec<_>>().join("; "))
    }

    /// What must hold whenever nothing is under way.
    pub(crate) fn check_at_rest(&mut self) -> Law {
        let Some(daemon) = self.daemon.as_ref().filter(|_| !self.rotten) else { return Ok(()) };
        laws::the_engine_has_what_the_journal_says(&self.ledger.books, &daemon.engine)?;
        let journal = view::scan(self.medium.cache())?;
        view::the_history_is_complete(&journal, &daemon.history)?;
        laws::the_journal_is_what_was_asked_for(&self.ledger, &journal)?;
        view::the_view_equals_the_fold(&journal, &self.table, self.latest_schedule, self.plan.idempotency_window_ms)?;
        view::what_is_live_survives(&self.ledger.books, &journal, self.latest_schedule, self.plan.idempotency_window_ms)?;
        view::timelines_are_complete(&self.ledger.books, self.medium.cache(), &self.table.rows())?;
        self.note("all is at rest", &[("facts", journal.len() as u64)]);
        Ok(())
    }
}

/// What a run that broke a law has to say.
pub(crate) fn failure(broken: &Broken, seed: u64, trace: &Trace) -> String {
    format!(
        "seed {seed} broke the law \"{}\": {}\nreplay it with: SIM_SEED={seed} cargo test --test sim seeds_keep\nthe last of what happened:\n{}",
        broken.law,
        broken.what,
        trace.tail()
    )
}
