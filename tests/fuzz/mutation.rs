//! An input made of others by chance. It never makes anything out of nothing: a parser turns noise away at its first byte.

use crate::random::Rng;

/// Bytes at which parsers like to be wrong.
const EDGES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xfb, 0xff, b'\r', b'\n', b'"', b'\\', b'{', b'['];
/// Changes to one input.
const CHANGES_MAX: u64 = 8;
/// Bytes of an input; what is longer is cut.
const LENGTH_MAX: usize = 64 * 1024;

/// What inputs are made of.
pub(crate) struct Mutation<'a> {
    /// Inputs as they should be; at least one.
    pub(crate) corpus: &'a [Vec<u8>],
    /// Words that stand in inputs.
    pub(crate) words: &'a [&'a str],
}

impl Mutation<'_> {
    /// One input of the corpus with a few changes.
    pub(crate) fn next(&self, chance: &mut Rng) -> Vec<u8> {
        let mut input = chance.pick(self.corpus).clone();
        for _ in 0..chance.between(1, CHANGES_MAX) {
            self.change(&mut input, chance);
        }
        input.truncate(LENGTH_MAX);
        input
    }

    fn change(&self, input: &mut Vec<u8>, chance: &mut Rng) {
        let at = chance.index(input.len() + 1);
        let until = at + chance.index(input.len() - at + 1).min(chance.index(64) + 1);
        match chance.below(9) {
            0 if at < input.len() => input[at] ^= 1 << chance.below(8),
            1 if at < input.len() => input[at] = *chance.pick(&EDGES),
            2 => input.insert(at, *chance.pick(&EDGES)),
            3 => drop(input.drain(at..until)),
            4 => input.truncate(at),
            5 => {
                let again = input[at..until].to_vec();
                let times = 1 << chance.below(8);
                input.splice(at..at, again.repeat(times));
            }
            6 if !self.words.is_empty() => drop(input.splice(at..until, chance.pick(self.words).bytes())),
            7 if !self.words.is_empty() => drop(input.splice(at..at, chance.pick(self.words).bytes())),
            _ => {
                let other = chance.pick(self.corpus);
                let from = chance.index(other.len() + 1);
                let to = from + chance.index(other.len() - from + 1);
                input.splice(at..until, other[from..to].iter().copied());
            }
        }
    }
}
