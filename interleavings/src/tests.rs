//! What must hold however threads take turns.

use crate::cell::{Block, Blocks, Cell, Seen};
use crate::record::Record;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::{check_pct, check_random, thread};

/// So many ways are drawn in which threads may take turns; and as many with so few changes that rare ones come up, too.
const DRAWN: usize = 5_000;
const CHANGES: usize = 3;

fn in_many_interleavings(model: fn()) {
    check_random(model, DRAWN);
    check_pct(model, DRAWN, CHANGES);
}

/// A stamp that names the place written with it; the lowest bit is the record's lock.
fn stamp(place: u64) -> u64 {
    place << 1
}

/// The quick way of a report: look, then replace what was seen.
fn replace(record: &Record, by: u64) -> bool {
    let (seen, _) = record.glimpse();
    record.replace(seen, stamp(by), by)
}

#[test]
fn a_reader_sees_words_that_belong_together() {
    in_many_interleavings(|| {
        let record = Arc::new(Record::new(stamp(1), 1));
        let writers = [2, 3].map(|place| {
            let record = Arc::clone(&record);
            thread::spawn(move || replace(&record, place))
        });
        let (seen, place) = record.read();
        assert_eq!(seen, stamp(place));
        let wrote = writers.map(|writer| writer.join().unwrap());
        assert!(wrote.contains(&true), "somebody comes first");
        let (seen, place) = record.read();
        assert!(seen == stamp(place) && place != 1);
    });
}

#[test]
fn no_write_is_lost() {
    in_many_interleavings(|| {
        let record = Arc::new(Record::new(stamp(0), 0));
        let slow = {
            let record = Arc::clone(&record);
            thread::spawn(move || {
                let mut held = record.lock();
                held.place += 1;
                held.stamp = stamp(held.place);
            })
        };
        // A quick writer builds on what it saw; if that has changed, it takes the slow way.
        let (seen, place) = record.glimpse();
        if !record.replace(seen, stamp(place + 1), place + 1) {
            let mut held = record.lock();
            held.place += 1;
            held.stamp = stamp(held.place);
        }
        slow.join().unwrap();
        assert_eq!(record.read(), (stamp(2), 2));
    });
}

/// Few blocks, given out under a lock as in the grid.
struct Pool {
    blocks: Vec<Block>,
    free: Mutex<Vec<u32>>,
}

impl Pool {
    fn new() -> Self {
        Self { blocks: vec![Block::default(), Block::default()], free: Mutex::new(vec![0, 1]) }
    }
}

impl Blocks for Pool {
    fn get(&self, block: u32) -> &Block {
        &self.blocks[block as usize]
    }

    fn take(&self) -> u32 {
        self.free.lock().unwrap().pop().unwrap()
    }

    fn give_back(&self, block: u32) {
        self.free.lock().unwrap().push(block);
    }
}

/// Two cells, and where a driver is: the number of its cell.
struct World {
    cells: [Cell; 2],
    pool: Pool,
    driver: Record,
}

const DRIVER: u32 = 7;
const OTHER: u32 = 8;

impl World {
    /// The driver is in the first cell.
    fn new() -> Arc<Self> {
        let world = Self { cells: Default::default(), pool: Pool::new(), driver: Record::new(stamp(0), 0) };
        world.cells[0].lock().push(DRIVER, &world.pool);
        Arc::new(world)
    }

    /// Moves the driver to the other cell, as the grid does: both cells by number, then the record.
    fn cross(&self) {
        let [mut a, mut b] = [self.cells[0].lock(), self.cells[1].lock()];
        let mut held = self.driver.lock();
        let (from, to) = if held.place == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        held.place ^= 1;
        held.stamp = stamp(held.place);
        drop(held);
        from.remove(DRIVER, &self.pool);
        to.push(DRIVER, &self.pool);
    }

    /// Reads both cells, and the driver's place each time it is listed. `None` if that was not one instant.
    fn search(&self) -> Option<Vec<(usize, u32, u64)>> {
        let mut seen: Vec<Seen> = Vec::new();
        let mut found = Vec::new();
        for (number, cell) in self.cells.iter().enumerate() {
            let (look, length) = cell.look()?;
            seen.push(look);
            let mut slots = Vec::new();
            cell.read(length, &self.pool, &mut slots);
            found.extend(slots.into_iter().map(|slot| (number, slot, self.driver.place())));
        }
        self.cells.iter().zip(seen).all(|(cell, seen)| cell.is_still(seen)).then_some(found)
    }
}

#[test]
fn who_changes_cell_is_seen_once_and_where_it_is() {
    in_many_interleavings(|| {
        let world = World::new();
        let writer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.cross())
        };
        if let Some(found) = world.search() {
            assert_eq!(found.len(), 1);
            let (cell, driver, place) = found[0];
            assert!(driver == DRIVER && place == cell as u64);
        }
        writer.join().unwrap();
        assert_eq!(world.search().unwrap(), [(1, DRIVER, 1)]);
    });
}

#[test]
fn a_list_that_grows_and_shrinks_is_read_whole() {
    in_many_interleavings(|| {
        let world = World::new();
        let writer = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                // Into a block, and out of the cell itself, which the last one then fills.
                world.cells[0].lock().push(OTHER, &world.pool);
                world.cells[0].lock().remove(DRIVER, &world.pool);
            })
        };
        if let Some(found) = world.search() {
            let slots: Vec<u32> = found.into_iter().map(|(_, slot, _)| slot).collect();
            assert!([&[DRIVER][..], &[DRIVER, OTHER], &[OTHER]].contains(&&*slots), "{slots:?}");
        }
        writer.join().unwrap();
        assert_eq!(world.pool.free.lock().unwrap().len(), 2);
    });
}

#[test]
fn two_writers_of_a_cell_do_not_disturb_each_other() {
    in_many_interleavings(|| {
        let world = World::new();
        let writer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.cells[0].lock().push(OTHER, &world.pool))
        };
        world.cells[0].lock().remove(DRIVER, &world.pool);
        writer.join().unwrap();
        let found = world.search().unwrap();
        assert!(found.len() == 1 && found[0].1 == OTHER);
    });
}

#[test]
fn who_was_taken_out_is_not_found_any_more() {
    in_many_interleavings(|| {
        let world = World::new();
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let (world, done) = (Arc::clone(&world), Arc::clone(&done));
            thread::spawn(move || {
                world.cells[0].lock().remove(DRIVER, &world.pool);
                done.store(true, Ordering::Release);
            })
        };
        if done.load(Ordering::Acquire) {
            assert_eq!(world.search().unwrap(), []);
        }
        writer.join().unwrap();
    });
}
