//! Beginnings and ends of the daemon: starts, sudden ends, ends in order, disks that lie. It never knows what is pending.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use hookwheel::engine::pending::Entry;
use hookwheel::engine::{Engine, Input};
use hookwheel::limits::DRAIN_TIMEOUT_MS;
use hookwheel::store::fact::Fact;
use hookwheel::store::journal::JournalOptions;
use hookwheel::store::journal::reader::JournalReader;
use hookwheel::store::recovery::{self, Recovered};
use hookwheel::store::setting::Setting;
use hookwheel::store::view::keys::META;
use hookwheel::store::writer::{Order, StoreError, Writer};

use crate::archivist::Archivist;
use crate::defects::Defect;
use crate::hallway::Daemon;
use crate::laws::{self, Law, require};
use crate::ledger::last_of;
use crate::medium::SimMedium;
use crate::mirror::Mirror;
use crate::notices::Gossip;
use crate::office::Office;
use crate::table::SimTable;
use crate::view;
use crate::wishes::Wishes;
use crate::workload::{HOUR, MINUTE};
use crate::world::{Happening, World};

impl World {
    /// A process begins, if none runs. When it fails for a reason that the simulator made, another one begins later.
    pub(crate) fn start(&mut self) -> Law {
        if self.daemon.is_some() {
            return Ok(());
        }
        if self.rng.one_in(6) && !self.is_calm {
            let changes = self.rng.between(1, 40);
            self.medium.die_after(changes);
        }
        let can_be_kept = !self.table.is_hurt() && !self.medium.is_troubled() && !self.lied;
        let has_room = self.medium.free_ballast();
        let is_behind_only = can_be_kept && self.table.rows().contains_key(META);
        let options = JournalOptions { segment_size: self.plan.segment_size };
        let table = self.table.clone();
        let open_table = |opening| table.open(opening);
        match recovery::open(Arc::new(self.medium.daemon()), options, open_table, &mut |_| {}) {
            Ok(recovered) => {
                // What was written so far was written with the room that the ballast held.
                self.table.wrote_without_room();
                self.reached.extend((self.full_until == Some(u64::MAX)).then_some("started on a full disk"));
                self.open_doors(recovered, is_behind_only)
            }
            Err(error) => self.start_failed(&error.to_string(), has_room),
        }
    }

    fn start_failed(&mut self, error: &str, has_room: bool) -> Law {
        self.report(&format!("the start failed: {error}"));
        let is_excused = self.medium.is_dead() || self.medium.is_troubled() || !has_room;
        require("the store opens", is_excused, || error.to_owned())?;
        self.ended_well = false;
        self.process_ends();
        Ok(())
    }

    fn open_doors(&mut self, recovered: Recovered<SimMedium, SimTable>, is_behind_only: bool) -> Law {
        let (warnings, rebuilt) = (recovered.warnings.join("; "), recovered.rebuilt);
        self.note("started", &[("facts", recovered.view.meta().sequence.0), ("rebuilt", rebuilt.into())]);
        if !warnings.is_empty() {
            self.report(&warnings);
        }
        self.check_recovered(&recovered, is_behind_only)?;
        let mut entries = Vec::new();
        let queue = recovery::read_queue(recovered.view.table().as_ref(), |row| {
            let (attempts, round) = (row.row.attempts, row.row.round);
            entries.push(Entry { key: row.key, body: row.row.body, due: row.due, attempts, round });
        });
        let is_paused = recovered.settings.iter().any(|setting| matches!(setting, Setting::Sending(Some(_))));
        let mut daemon = self.make_daemon(recovered);
        let ready = queue.map_err(StoreError::from).and_then(|()| self.take_over_file(&mut daemon));
        if let Err(error) = ready {
            self.process_fails(&error);
            return Ok(());
        }
        let now_ms = self.now_ms;
        daemon.tell(Input::Configured(daemon.office.configuration(&self.plan)), now_ms);
        daemon.tell(Input::SendingPaused(is_paused), now_ms);
        // The queue comes by due time; what belongs to ordered webhooks comes in one piece, by age.
        let (mut in_order, others) = entries.into_iter().partition::<Vec<_>, _>(|entry| daemon.office.is_ordered(entry.key.webhook));
        if self.defect != Defect::ForgetsTheOrder {
            in_order.sort_by_key(|entry| entry.key.sequence);
        }
        for chunk in others.chunks(100) {
            daemon.tell(Input::Loaded(chunk.to_vec()), now_ms);
        }
        daemon.tell(Input::Loaded(in_order), now_ms);
        for state in daemon.office.states.values().filter(|state| state.removed.is_some()) {
            daemon.inbox.push_back(Input::Removed { webhook: state.number, by: "operator".into() });
        }
        self.ended_well = false;
        self.daemon = Some(Box::new(daemon));
        Ok(())
    }

    fn make_daemon(&mut self, recovered: Recovered<SimMedium, SimTable>) -> Daemon {
        self.incarnation += 1;
        self.ledger.window_ms = self.plan.idempotency_window_ms;
        let started = self.wall().max(recovered.view.meta().latest);
        let office = Office { states: recovered.webhooks, definitions: BTreeMap::new() };
        let window_ms = self.plan.idempotency_window_ms * if self.defect == Defect::LongMemory { 2 } else { 1 };
        Daemon {
            incarnation: self.incarnation,
            engine: Engine::new(started),
            writer: Writer::new(recovered.journal, recovered.view, recovered.history.clone(), window_ms),
            bodies: JournalReader::new(Arc::new(self.medium.daemon())),
            durable: JournalReader::new(Arc::new(self.medium.durable())),
            mirror: Mirror::default(),
            gossip: Gossip::default(),
            office,
            inbox: VecDeque::new(),
            orders: VecDeque::new(),
            operations: BTreeMap::new(),
            barriers: BTreeMap::new(),
            history: recovered.history,
            places: HashMap::new(),
            spare: None,
            blacklist_tickets: 0,
            unrecorded: 0,
            archivist: Archivist::new(self.medium.daemon(), &self.plan, self.now_ms),
            wishes: Wishes::default(),
            held_back: None,
            started_ms: self.now_ms,
            started,
            engine_at: self.now_ms,
            writer_at: self.now_ms,
            lull_until: 0,
            checkpoint_at: self.now_ms + self.rng.below(20_000),
            drains_until: None,
        }
    }

    /// What the configuration file changes is durable before the doors open.
    fn take_over_file(&mut self, daemon: &mut Daemon) -> Result<(), StoreError> {
        let facts = daemon.office.take_over(&self.definitions, daemon.started);
        if facts.is_empty() {
            return Ok(());
        }
        let order = Order::Operate { ticket: 0, facts };
        self.foretell(daemon, &order);
        daemon.writer.take(order, daemon.started)?;
        daemon.writer.sync(&mut Vec::new())?;
        self.ledger.acknowledge(daemon.writer.status().last_sequence);
        Ok(())
    }

    /// What must hold of a store that was just opened.
    fn check_recovered(&mut self, recovered: &Recovered<SimMedium, SimTable>, is_behind_only: bool) -> Law {
        if self.rotten {
            let (journal, _) = view::scan_what_is_readable(self.medium.cache())?;
            let told = recovered.rebuilt.then(|| recovered.warnings.join("; "));
            return view::what_is_readable_is_kept(&journal, &self.table.rows(), told.as_deref());
        }
        let journal = view::scan(self.medium.cache())?;
        if self.lied {
            self.forgive(last_of(&journal));
        }
        laws::the_journal_is_what_was_asked_for(&self.ledger, &journal)?;
        self.ledger.begin_again(last_of(&journal));
        laws::accepted_is_never_lost(&self.ledger, &self.answered)?;
        laws::attempts_never_exceed_the_schedule(&self.ledger, &self.sends, &self.repeats, &self.longest)?;
        self.latest_schedule = self.latest_schedule.max(self.wall()).max(self.ledger.books.latest);
        view::the_view_equals_the_fold(&journal, &self.table, self.latest_schedule, self.plan.idempotency_window_ms)?;
        view::what_is_live_survives(&self.ledger.books, &journal, self.latest_schedule, self.plan.idempotency_window_ms)?;
        let settings = recovered.settings.iter().map(|setting| (setting.key(), setting.clone())).collect::<BTreeMap<_, _>>();
        require("the view equals the fold of the journal", settings == self.ledger.books.settings, || {
            format!("settings are {settings:?}, should be {:?}", self.ledger.books.settings)
        })?;
        require("the view equals the fold of the journal", recovered.webhooks == self.ledger.books.webhooks, || {
            format!("webhooks are {:?}, should be {:?}", recovered.webhooks, self.ledger.books.webhooks)
        })?;
        let (warnings, law) = (&recovered.warnings, "a view that is only behind is kept");
        require(law, !(is_behind_only && recovered.rebuilt), || format!("it was rebuilt: {warnings:?}"))?;
        let is_lossless = !warnings.iter().any(|warning| warning.contains("are gone"));
        require("the journal is what was asked for", is_lossless, || format!("{warnings:?}"))?;
        require("an end in order leaves nothing to repair", !self.ended_well || warnings.is_empty(), || format!("{warnings:?}"))
    }

    /// After a disk that lied, what is left is what there is.
    fn forgive(&mut self, kept: usize) {
        self.remark("the disk had lied");
        self.lied = self.medium.lies();
        if self.rng.one_in(2) && !self.is_calm {
            // Before the first checkpoint the view of the lost past may come back.
            let delay_ms = self.rng.below(5000);
            self.plan_in(delay_ms, Happening::PowerGoes);
        }
        self.ledger.begin_again(kept.min(self.ledger.log.len()));
        let (books, sends) = (&self.ledger.books, &mut self.sends);
        self.answered.retain(|(project, id), deliveries| laws::made_of(books, project, id).contains(&(*deliveries as usize)));
        sends.clear();
        self.repeats.clear();
    }

    /// The process, or the whole machine, ends from one moment to the next.
    pub(crate) fn sudden_end(&mut self) {
        self.note("a sudden end", &[]);
        if self.rng.percent(self.plan.power_percent) { self.power_goes() } else { self.process_ends() }
    }

    /// The machine loses its power.
    pub(crate) fn power_goes(&mut self) {
        self.note("the power goes", &[]);
        self.count_repeats();
        self.daemon = None;
        self.medium.power_lost();
        self.table.crash(true);
        self.after_end();
    }

    /// The store failed, so the process ends.
    pub(crate) fn process_fails(&mut self, error: &StoreError) {
        self.report(&format!("the process ends: {error}"));
        if matches!(error, StoreError::View(_)) && !self.medium.is_dead() {
            self.table.mark();
        }
        if self.medium.is_dead() && self.rng.percent(self.plan.power_percent) { self.power_goes() } else { self.process_ends() }
    }

    fn process_ends(&mut self) {
        self.note("the process is gone", &[]);
        self.count_repeats();
        self.daemon = None;
        self.medium.process_ended();
        self.table.crash(false);
        self.after_end();
    }

    fn after_end(&mut self) {
        self.ended_well = false;
        if self.rng.percent(self.plan.hurt_percent) && !self.is_calm {
            self.note("the table is hurt", &[]);
            self.table.hurt();
        }
        if self.plan.rots && !self.rotten && !self.is_calm && self.rng.one_in(2) {
            self.note("the journal rots", &[]);
            self.medium.rot();
            self.rotten = true;
        }
        self.clients_lose_their_connection();
        if self.rng.one_in(6) {
            self.wall_jumps();
        }
        let delay_ms = if self.rng.one_in(5) { self.rng.below(HOUR / 2) } else { self.rng.below(5000) };
        self.plan_in(delay_ms, Happening::Start);
    }

    /// What is under way, or recorded and not durable, may be repeated.
    fn count_repeats(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        for (webhook, lane) in &daemon.mirror.lanes {
            for sequence in lane.waiting.iter().filter(|(_, waiting)| waiting.in_flight).map(|(sequence, _)| *sequence) {
                *self.repeats.entry(hookwheel::model::DeliveryKey { sequence, webhook: *webhook }).or_default() += 1;
            }
        }
        let ordered = daemon.orders.iter().filter_map(|order| if let Order::Record(fact) = order { Some(fact) } else { None });
        let taken = self.ledger.log[self.ledger.acknowledged..].iter().map(|logged| &logged.fact);
        for fact in ordered.chain(taken) {
            if let Fact::Attempted(attempted) = fact {
                *self.repeats.entry(attempted.key).or_default() += 1;
            }
        }
    }

    /// The daemon ends as after SIGTERM: nothing new, what is under way ends, everything is written.
    pub(crate) fn stop_in_order(&mut self) -> Law {
        let until_ms = self.now_ms + DRAIN_TIMEOUT_MS;
        let now_ms = self.now_ms;
        if let Some(daemon) = &mut self.daemon {
            daemon.drains_until = Some(until_ms);
            daemon.tell(Input::DrainBegan, now_ms);
        }
        self.note("a stop in order begins", &[]);
        while self.daemon.as_ref().is_some_and(|daemon| !daemon.is_idle()) && self.now_ms < until_ms {
            self.step()?;
        }
        self.count_repeats();
        let Some(daemon) = &self.daemon else { return Ok(()) };
        if !daemon.is_idle() || daemon.writer.view().table().checkpoint_as_the_daemon_does().is_err() {
            self.process_ends();
            return Ok(());
        }
        self.note("stopped in order", &[]);
        self.daemon = None;
        self.ended_well = !self.table.is_hurt();
        self.table.crash(false);
        self.clients_lose_their_connection();
        Ok(())
    }

    /// The disk says yes to every sync and does nothing, until the power goes some time later.
    pub(crate) fn disk_begins_to_lie(&mut self) {
        self.note("the disk begins to lie", &[]);
        self.medium.set_lies(true);
        self.lied = true;
        let delay_ms = self.around(10 * MINUTE);
        self.plan_in(delay_ms, Happening::PowerGoes);
    }

    /// The view is not brought up for a while, so that windows become large.
    pub(crate) fn lull(&mut self) {
        let (lasts_ms, delay_ms) = (self.rng.below(5 * MINUTE), self.around(HOUR / 2));
        let until = self.now_ms + lasts_ms;
        if let Some(daemon) = &mut self.daemon {
            daemon.lull_until = until;
        }
        self.plan_in(delay_ms, Happening::Lull);
    }
}
