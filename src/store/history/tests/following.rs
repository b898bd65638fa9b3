//! Following what happens: in order, nothing twice and nothing left out, over restarts, and told what is gone.

use super::*;
use crate::store::journal::segment;

/// The numbers of the facts that somebody hears of from `place` to the present, a few at a time.
fn heard(history: &History<MemoryMedium>, mut place: FollowPlace, limit: usize) -> (Vec<u64>, FollowPlace, u64) {
    let (mut heard, mut missed) = (Vec::new(), 0);
    loop {
        let followed = history.follow(place, limit).unwrap();
        assert!(followed.frames.len() <= limit);
        heard.extend(followed.frames.iter().map(|frame| frame.sequence.0));
        missed += followed.missed;
        place = followed.next.to_string().parse().unwrap();
        if place == history.noted() || (followed.frames.is_empty() && place.sequence >= history.noted().sequence) {
            return (heard, place, missed);
        }
    }
}

/// The facts that are news.
fn news(place: &Place, behind: u64) -> Vec<u64> {
    let mut numbers = place.medium.list().unwrap().iter().filter_map(|name| segment::parse_file_name(name)).collect::<Vec<_>>();
    numbers.sort_unstable();
    let reader = JournalReader::new(Arc::new(place.medium.clone()));
    let mut found = Vec::new();
    for mut scan in numbers.into_iter().filter_map(|number| reader.scan(number).unwrap()) {
        while let Some(Scanned::Frame(frame)) = scan.step().unwrap() {
            let is_news = match &frame.fact {
                Fact::Accepted(accepted) => !accepted.overflowed.is_empty(),
                _ => true,
            };
            found.extend((is_news && frame.sequence.0 > behind).then_some(frame.sequence.0));
        }
    }
    found
}

#[test]
fn everything_is_heard_once_and_in_order_over_segments_and_restarts() {
    let (mut place, mut dice) = (Place::new(), Dice(21));
    let mut at = place.history.noted();
    let mut all = Vec::new();
    for round in 0..30 {
        for _ in 0..dice.below(90) {
            place.step(&mut dice);
        }
        if round % 7 == 6 {
            place.reopen();
        }
        let (new, next, missed) = heard(&place.history, at, [1, 3, 500][dice.index(3)]);
        assert_eq!(missed, 0);
        all.extend(new);
        at = next;
    }
    assert!(place.journal.segment_number() > 4);
    assert_eq!(all, news(&place, 0));
    assert!(place.history.follow(at, 9).unwrap().frames.is_empty());
}

#[test]
fn who_comes_too_late_is_told_what_is_gone() {
    let (place, _) = filled(22, 900);
    let begin = FollowPlace { sequence: Sequence(5), locator: Locator { segment: 1, offset: 9000 } };
    for number in [1, 2] {
        place.medium.remove(&segment::file_name(number)).unwrap();
        place.history.forget_segment(number).unwrap();
    }
    let history = open(&place.medium, place.history.noted()).1;
    let first = JournalReader::new(Arc::new(place.medium.clone())).first_of(3).unwrap().unwrap().0;
    let (all, _, missed) = heard(&history, begin, 100);
    assert_eq!(missed, first - 6);
    assert_eq!(all, news(&place, 5));
}

#[test]
fn a_place_that_is_none_is_refused_or_goes_on_from_its_number() {
    let (place, _) = filled(23, 300);
    for wrong in ["", "7", "7-1", "7-1-x", "7-1-2-3", "-1-1-1"] {
        assert!(wrong.parse::<FollowPlace>().unwrap_err().contains("\"next\""), "{wrong}");
    }
    let lost = FollowPlace { sequence: Sequence(40), locator: Locator { segment: 1, offset: 12 } };
    assert_eq!(heard(&place.history, lost, 100).0, news(&place, 40));
    let future = FollowPlace { sequence: Sequence(1 << 40), locator: Locator { segment: 1, offset: 8192 } };
    assert_eq!(place.history.follow(future, 9).unwrap().next, place.history.noted());
}
