//! Reading the frames of segment after segment, and putting down what is damaged and what is missing. It never decides what a fact means.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::model::Sequence;
use crate::model::report::{Damage, MissingFacts, Tell, VerifyReport};
use crate::store::fact::{Fact, Floor};
use crate::store::journal::frame::FrameError;
use crate::store::journal::medium::MediumFile;
use crate::store::journal::segment::{self, FRAMES_START, Scanned, ScannedFrame, SegmentHeader, SegmentScan};
use crate::store::recovery::segments::Tail;

/// Progress is told this often, in frames.
const TELL_EVERY: u64 = 1024;

/// How far a segment is read.
#[derive(Clone, Copy)]
pub(super) enum Reading<'a> {
    /// To its end.
    Whole,
    /// As far as the next start will keep it.
    Kept(&'a Tail),
    /// Up to this fact: what lies behind is being written.
    UpTo(Sequence),
}

/// What was read so far.
pub(super) struct Frames<'a, 'b> {
    pub(super) report: VerifyReport,
    /// Segments both copies of whose header are damaged.
    pub(super) damaged_headers: BTreeSet<u32>,
    expected: Sequence,
    /// Numbers that were passed over: from, and up to but without.
    holes: Vec<(Sequence, Sequence)>,
    /// Events that can still be read in damaged frames.
    remains: BTreeMap<Sequence, String>,
    total: u64,
    tell: &'a mut Tell<'b>,
}

impl<'a, 'b> Frames<'a, 'b> {
    pub(super) fn new(tell: &'a mut Tell<'b>) -> Self {
        Self {
            report: VerifyReport::default(),
            damaged_headers: BTreeSet::new(),
            expected: Sequence(1),
            holes: Vec::new(),
            remains: BTreeMap::new(),
            total: 0,
            tell,
        }
    }

    /// Learns how much there is to read.
    pub(super) fn total<F: MediumFile>(&mut self, segments: &[(SegmentHeader, Arc<F>)]) -> io::Result<()> {
        self.total = segments.iter().map(|(_, file)| file.size()).sum::<io::Result<u64>>()?;
        Ok(())
    }

    pub(super) fn damage(&mut self, file: &str, place: Option<(u64, u64)>, what: &str) {
        let (offset, bytes) = place.unzip();
        self.report.damage.push(Damage { file: file.to_owned(), offset, bytes, what: what.to_owned() });
    }

    /// The header of a segment, from whichever copy is whole.
    pub(super) fn header(&mut self, name: &str, number: u32, file: &impl MediumFile) -> Option<SegmentHeader> {
        let header = match SegmentHeader::read(file, number) {
            Ok(Some(header)) => header,
            Ok(None) => {
                let newer = SegmentHeader::newer_format(file).ok().flatten();
                let what = newer.map_or("both copies of its header are damaged".to_owned(), |format| {
                    format!("it has format {format}, which only a newer hookwheel reads")
                });
                self.damage(name, None, &what);
                self.damaged_headers.insert(number);
                return None;
            }
            Err(error) => {
                self.damage(name, None, &format!("its header can't be read: {error}"));
                self.damaged_headers.insert(number);
                return None;
            }
        };
        for offset in header.damaged_copies(file) {
            self.damage(
                name,
                Some((offset, segment::HEADER_BYTES as u64)),
                "one of the two copies of its header is damaged; the other one is whole",
            );
        }
        Some(header)
    }

    pub(super) fn read<F: MediumFile>(
        &mut self,
        header: SegmentHeader,
        file: &Arc<F>,
        reading: Reading<'_>,
        visit: &mut dyn FnMut(&ScannedFrame),
    ) -> io::Result<()> {
        let name = format!("journal/{}", segment::file_name(header.number));
        self.read_as(&name, header, file, reading, visit)
    }

    /// Reads the frames of a segment and shows the good ones, in order.
    pub(super) fn read_as<F: MediumFile>(
        &mut self,
        name: &str,
        header: SegmentHeader,
        file: &Arc<F>,
        reading: Reading<'_>,
        visit: &mut dyn FnMut(&ScannedFrame),
    ) -> io::Result<()> {
        let before = self.report.bytes;
        self.report.segments += 1;
        // Of a segment that was only just begun, everything is being written.
        if matches!(reading, Reading::UpTo(limit) if limit < header.first) {
            return Ok(());
        }
        let mut scan = SegmentScan::new(Arc::clone(file), header, FRAMES_START);
        while let Some(scanned) = scan.step()? {
            match scanned {
                Scanned::Frame(frame) => {
                    let is_behind = match reading {
                        Reading::Whole => false,
                        Reading::Kept(tail) => tail.is_beyond(frame.locator),
                        Reading::UpTo(limit) => frame.sequence > limit,
                    };
                    if is_behind {
                        break;
                    }
                    self.report.bytes = before + frame.end;
                    self.take(&frame, visit);
                    if matches!(reading, Reading::UpTo(limit) if frame.sequence == limit) {
                        break;
                    }
                }
                Scanned::Damage { offset, skipped, error } => {
                    let is_torn = matches!(reading, Reading::Kept(tail) if tail.is_torn_at(header.number, offset));
                    let remains = scan.remains(offset, skipped);
                    if !is_torn {
                        self.take_damage(name, (offset, skipped), &error, remains);
                    }
                }
            }
        }
        self.report.bytes = before + file.size()?;
        (self.tell)(self.report.bytes, self.total.max(self.report.bytes));
        Ok(())
    }

    fn take(&mut self, frame: &ScannedFrame, visit: &mut dyn FnMut(&ScannedFrame)) {
        if frame.sequence < self.expected {
            return;
        }
        if frame.sequence > self.expected {
            self.holes.push((self.expected, frame.sequence));
        }
        self.expected = frame.sequence.next();
        let report = &mut self.report;
        if report.facts == 0 {
            report.first = frame.sequence.0;
        }
        report.facts += 1;
        report.last = frame.sequence.0;
        visit(frame);
        if report.facts.is_multiple_of(TELL_EVERY) {
            (self.tell)(report.bytes, self.total.max(report.bytes));
        }
    }

    fn take_damage(&mut self, name: &str, place: (u64, u64), error: &FrameError, remains: Vec<(Sequence, Fact)>) {
        self.damage(name, Some(place), &error.to_string());
        for (sequence, fact) in remains {
            if let Fact::Accepted(event) = fact {
                self.remains.insert(sequence, format!("{} of {}", event.id, event.project));
            }
        }
    }

    /// Everything was read: what is missing up to `through` is known now. Below the floor nothing is needed.
    pub(super) fn end(&mut self, floor: Floor, through: Sequence) {
        if self.expected <= through {
            self.holes.push((self.expected, through.next()));
        }
        let needed = self.holes.drain(..).map(|(from, to)| (floor.sequence.max(from), to)).filter(|(from, to)| from < to);
        for (from, to) in needed {
            let events = self.remains.range(from..to).map(|(_, event)| event.clone()).collect();
            self.report.missing.push(MissingFacts { from, through: Sequence(to.0 - 1), events });
        }
    }

    pub(super) fn finish(mut self) -> VerifyReport {
        self.report.sound = self.report.damage.is_empty() && self.report.missing.is_empty() && self.report.view.is_empty();
        self.report
    }
}
