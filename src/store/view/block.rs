//! Many small rows of one family in one value of the table below, so that a row costs what it holds and not what a row of sled costs. It never looks at what rows mean.
//!
//! A *block* holds up to [`ROWS_MAX`] rows that follow one another in the order of keys. It stands under a key that is not behind its first row's; the next block of the
//! family begins where it ends, so the rows of a family are in the order of their keys whatever block they are in.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | bytes that the row's key has in common with the key before; with the block's own key, for the first row |
//! | 1 | bytes of the key behind those |
//! | 1 | bytes of the value |
//! | | the rest of the key, and the value |
//! | | … the next row … |
//! | 4 | CRC-32C over the block's key and everything before |

use super::keys::{self, BadRow};
use super::{Row, TableError};

/// Rows of one block at most.
pub const ROWS_MAX: usize = 64;

/// Families whose rows are kept in blocks: those that are many, small, and change beside one another because their keys begin with a moment.
const PACKED: [u8; 2] = [b'q', b'x'];

/// The family of a key whose rows are kept in blocks.
pub(super) fn family_of(key: &[u8]) -> Option<u8> {
    key.first().copied().filter(|family| PACKED.contains(family))
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A key and its value, where they lie.
type Borrowed<'key, 'value> = (&'key [u8], &'value [u8]);

/// The rows of a block, one after the other.
pub struct Rows<'a> {
    key: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Rows<'a> {
    /// The rows of the block that stands under `key`.
    ///
    /// # Errors
    /// When its checksum shows it to be damaged.
    pub fn of(key: &[u8], sealed: &'a [u8]) -> Result<Self, BadRow> {
        Ok(Self { key: key.to_vec(), rest: keys::unseal(key, sealed)? })
    }

    /// The next row; none behind the last one.
    ///
    /// # Errors
    /// When the bytes are no row.
    pub fn step(&mut self) -> Result<Option<Borrowed<'_, 'a>>, BadRow> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let ([shared, behind, length], rest) = self.rest.split_first_chunk().ok_or(BadRow)?;
        let (behind, rest) = rest.split_at_checked(usize::from(*behind)).ok_or(BadRow)?;
        let (value, rest) = rest.split_at_checked(usize::from(*length)).ok_or(BadRow)?;
        if usize::from(*shared) > self.key.len() {
            return Err(BadRow);
        }
        self.key.truncate(usize::from(*shared));
        self.key.extend_from_slice(behind);
        self.rest = rest;
        Ok(Some((&self.key, value)))
    }

    /// The key of the row that was read last.
    pub(super) fn into_last_key(self) -> Vec<u8> {
        self.key
    }
}

/// The value of one row of a block.
///
/// # Errors
/// When the block is damaged.
pub fn find(block_key: &[u8], sealed: &[u8], wanted: &[u8]) -> Result<Option<Vec<u8>>, BadRow> {
    let mut rows = Rows::of(block_key, sealed)?;
    while let Some((key, value)) = rows.step()? {
        if key >= wanted {
            return Ok((key == wanted).then(|| value.to_vec()));
        }
    }
    Ok(None)
}

/// What becomes of a block by changes of its rows: none, it or several, each under its own key, in order. The first stands under `key`, or under the first of its rows where that is before it.
///
/// # Errors
/// When the block is damaged, or a row is too large for one.
pub fn edited(key: &[u8], sealed: Option<&[u8]>, changes: &[Row]) -> Result<Vec<Pair>, TableError> {
    let mut rows: Vec<Pair> = Vec::with_capacity(ROWS_MAX + changes.len());
    let mut changes = changes.iter().peekable();
    if let Some(sealed) = sealed {
        let mut old = Rows::of(key, sealed)?;
        while let Some((key, value)) = old.step()? {
            while let Some((earlier, value)) = changes.next_if(|(changed, _)| changed.as_slice() < key) {
                rows.extend(value.clone().map(|value| (earlier.clone(), value)));
            }
            match changes.next_if(|(changed, _)| changed.as_slice() == key) {
                Some((key, value)) => rows.extend(value.clone().map(|value| (key.clone(), value))),
                None => rows.push((key.to_vec(), value.to_vec())),
            }
        }
    }
    let inside = rows.len();
    rows.extend(changes.filter_map(|(key, value)| Some((key.clone(), value.clone()?))));
    // What grows at its end goes on growing there: full blocks are left behind. Elsewhere each half keeps room for more.
    let grows_at_its_end = inside <= ROWS_MAX;
    let size = if grows_at_its_end { ROWS_MAX } else { rows.len().div_ceil(rows.len().div_ceil(ROWS_MAX)) };
    let mut blocks = Vec::new();
    for rows in rows.chunks(size.max(1)) {
        let first = rows[0].0.as_slice();
        let own_key = if blocks.is_empty() { key.min(first) } else { first };
        blocks.push((own_key.to_vec(), sealed_block(own_key, rows)?));
    }
    Ok(blocks)
}

fn sealed_block(block_key: &[u8], rows: &[Pair]) -> Result<Vec<u8>, TableError> {
    let too_large = |_| TableError("a row is too large for a block".into());
    let mut bytes = Vec::with_capacity(rows.len() * 48);
    let mut before = block_key;
    for (key, value) in rows {
        let shared = before.iter().zip(key).take(u8::MAX.into()).take_while(|(one, other)| one == other).count();
        let behind = &key[shared..];
        bytes.push(u8::try_from(shared).map_err(too_large)?);
        bytes.push(u8::try_from(behind.len()).map_err(too_large)?);
        bytes.push(u8::try_from(value.len()).map_err(too_large)?);
        bytes.extend_from_slice(behind);
        bytes.extend_from_slice(value);
        before = key;
    }
    Ok(keys::seal(block_key, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Vec<u8> {
        [b"q".as_slice(), &number.to_be_bytes()].concat()
    }

    fn put(numbers: impl IntoIterator<Item = u32>) -> Vec<Row> {
        numbers.into_iter().map(|number| (key(number), Some(number.to_le_bytes().to_vec()))).collect()
    }

    fn numbers(blocks: &[Pair]) -> Vec<Vec<u32>> {
        let read = |(block_key, sealed): &Pair| {
            let mut rows = Rows::of(block_key, sealed).unwrap();
            let mut numbers = Vec::new();
            while let Some((row, value)) = rows.step().unwrap() {
                let number = u32::from_le_bytes(value.try_into().unwrap());
                assert_eq!(row, key(number));
                assert_eq!(find(block_key, sealed, row).unwrap().unwrap(), value);
                numbers.push(number);
            }
            assert!(block_key.as_slice() <= key(numbers[0]).as_slice() && numbers.len() <= ROWS_MAX);
            numbers
        };
        blocks.iter().map(read).collect()
    }

    #[test]
    fn what_is_put_at_the_end_leaves_full_blocks_and_what_is_put_between_leaves_room() {
        let full = edited(&key(0), None, &put(0..64)).unwrap();
        let (block_key, sealed) = &full[0];
        let longer = numbers(&edited(block_key, Some(sealed), &put(70..170)).unwrap());
        assert_eq!(longer.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 36]);
        let spaced = edited(&key(0), None, &put((0..64).map(|number| number * 10))).unwrap();
        let between = numbers(&edited(&spaced[0].0, Some(&spaced[0].1), &put([5])).unwrap());
        assert_eq!(between.iter().map(Vec::len).collect::<Vec<_>>(), [33, 32]);
    }

    #[test]
    fn rows_are_changed_removed_and_put_before_all_others() {
        let made = edited(&key(10), None, &put([10, 20, 30])).unwrap();
        let changes = [put([5]), vec![(key(10), None), (key(15), None)], put([20, 25]), vec![(key(30), None), (key(31), None)]].concat();
        let changed = edited(&key(10), Some(&made[0].1), &changes).unwrap();
        assert_eq!((changed[0].0.clone(), numbers(&changed)), (key(5), vec![vec![5, 20, 25]]));
        let removed = put([5, 20, 25]).into_iter().map(|(key, _)| (key, None)).collect::<Vec<_>>();
        assert!(edited(&key(5), Some(&changed[0].1), &removed).unwrap().is_empty());
    }

    #[test]
    fn a_block_that_is_damaged_or_stands_under_another_key_is_refused() {
        let made = edited(&key(10), None, &put([10, 20, 30])).unwrap();
        let (block_key, sealed) = &made[0];
        assert!(Rows::of(&key(11), sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 4;
            assert!(Rows::of(block_key, &bad).is_err() && find(block_key, &bad, &key(20)).is_err());
            assert!(edited(block_key, Some(&bad), &put([40])).is_err());
        }
        assert!(edited(&key(1), None, &[(key(1), Some(vec![0; 256]))]).is_err());
    }
}
