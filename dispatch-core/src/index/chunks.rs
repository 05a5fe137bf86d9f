//! Lists that only grow, read without a lock: what has a number keeps its place in memory.

use std::sync::OnceLock;

type Chunk<T> = OnceLock<Box<[T]>>;

/// A list of known greatest length, in chunks of 4,096: the quickest to read.
pub(super) struct Table<T> {
    chunks: Box<[OnceLock<Box<[T; TABLE_CHUNK]>>]>,
}

const TABLE_CHUNK: usize = 4_096;

impl<T> Table<T> {
    /// Room for `limit` values; takes 16 bytes for each 4,096 of them.
    pub(super) fn new(limit: u32) -> Self {
        let chunks = (limit as usize).div_ceil(TABLE_CHUNK);
        Self { chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    /// The value at `at`, if its chunk was ever made.
    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        Some(&self.chunks.get(at as usize / TABLE_CHUNK)?.get()?[at as usize % TABLE_CHUNK])
    }

    /// The value at `at`; its chunk is filled by `fill` if it is new.
    pub(super) fn get_or_make(&self, at: u32, mut fill: impl FnMut() -> T) -> &T {
        let chunk = self.chunks[at as usize / TABLE_CHUNK].get_or_init(|| {
            let values: Box<[T]> = (0..TABLE_CHUNK).map(|_| fill()).collect();
            values.try_into().unwrap_or_else(|_| unreachable!("it was made of so many"))
        });
        &chunk[at as usize % TABLE_CHUNK]
    }

    /// The first `length` values in their chunks; all of them have to be there.
    pub(super) fn first(&self, length: u32) -> impl Iterator<Item = &[T]> {
        let length = length as usize;
        let made =
            self.chunks.iter().take(length.div_ceil(TABLE_CHUNK)).map(|chunk| chunk.get().map_or(&[][..], |c| &c[..]));
        made.enumerate().map(move |(n, chunk)| &chunk[..chunk.len().min(length - n * TABLE_CHUNK)])
    }
}

/// A list of any length up to 2^27. Its chunks grow with it, each a quarter to an eighth of all before: little is wasted
/// where there is little, and its own table is small.
pub(super) struct Growing<T, const FIRST_BITS: u32> {
    chunks: Box<[Chunk<T>]>,
}

const LENGTH_BITS: u32 = 27;

impl<T: Default, const FIRST_BITS: u32> Growing<T, FIRST_BITS> {
    /// Makes the chunk of `at` if it is new.
    pub(super) fn make(&self, at: u32) {
        let (chunk, _, length) = Self::place(at);
        self.chunks[chunk].get_or_init(|| (0..length).map(|_| T::default()).collect());
    }

    /// The value at `at`, which was made.
    #[inline]
    pub(super) fn get(&self, at: u32) -> &T {
        let (chunk, place, _) = Self::place(at);
        &self.chunks[chunk].get().expect("a number is given out after its chunk is made")[place]
    }

    /// The values from `at` on, as far as they are made in one piece: at least up to the next multiple of `2^FIRST_BITS`.
    #[inline]
    pub(super) fn from(&self, at: u32) -> &[T] {
        let (chunk, place, _) = Self::place(at);
        &self.chunks[chunk].get().expect("a number is given out after its chunk is made")[place..]
    }

    /// The chunk of a value, its place there, and the length of the chunk. Four chunks of a length, then four of twice it.
    #[inline]
    fn place(at: u32) -> (usize, usize, usize) {
        let biased = at + (4 << FIRST_BITS);
        let top = biased.ilog2() - 2;
        let chunk = (top - FIRST_BITS) * 4 + (biased >> top & 3);
        (chunk as usize, (biased & ((1 << top) - 1)) as usize, 1 << top)
    }
}

impl<T, const FIRST_BITS: u32> Default for Growing<T, FIRST_BITS> {
    fn default() -> Self {
        let chunks = (LENGTH_BITS - FIRST_BITS) * 4;
        Self { chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_number_has_its_own_place() {
        let growing = Growing::<AtomicU32, 3>::default();
        for at in 0..5_000 {
            growing.make(at);
            assert_eq!(growing.get(at).swap(at, Ordering::Relaxed), 0, "{at} is another's place");
        }
        for at in 0..5_000 {
            let rest = growing.from(at);
            assert_eq!(rest[0].load(Ordering::Relaxed), at);
            let piece = (8 - at % 8).min(5_000 - at) as usize;
            assert!(rest[..piece].iter().zip(at..).all(|(value, n)| value.load(Ordering::Relaxed) == n));
        }
        growing.make(u32::MAX >> 6);
    }

    #[test]
    fn a_table_shows_what_was_made() {
        let (table, mut n) = (Table::new(10_000), 0..);
        assert!(table.get(0).is_none() && table.get(u32::MAX).is_none());
        for at in [0, 4_096, 8_192] {
            table.get_or_make(at, || n.next().unwrap());
        }
        assert_eq!(table.get(9_999), Some(&9_999));
        assert!(table.first(9_000).flatten().copied().eq(0..9_000));
        assert_eq!(table.first(0).count(), 0);
    }
}
