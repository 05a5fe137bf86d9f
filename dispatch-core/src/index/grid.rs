//! The available drivers in cells that are as small as their number asks for.
//!
//! The earth is divided into regions, those into tiles, and each tile into cells by its own number of drivers. Only what
//! has drivers exists. A cell has a lock that those take who move a driver into it or out of it; readers take none. What
//! is divided anew, made or dropped, is so under one lock, and counted: a reader who sees the same count before and after,
//! and the same cells, has seen one instant.
//!
//! Locks are taken in one order: the structure's, cells' by number, drivers' records.

use super::ball::{self, Ball, Centre, Country, Run, TILE_BITS, child};
use super::cell::{Block, Blocks, Cell, Editing};
use super::chunks::Growing;
use super::drivers::Drivers;
use super::place::{CellId, Place, REGION_BITS, REGION_ROWS, SLACK, Stamp, TURN, widening};
use super::search::{Field, Found};
use super::sync::pause;
use parking_lot::Mutex;
use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A tile has `4^level` cells; those of the last level are 91 m high. Smaller ones would be left with every other fix.
const LEVELS: usize = 6;

/// A tile whose cells have more drivers on average is divided further, and one whose cells have fewer is not any more.
const MOST_PER_CELL: u32 = 10;
const LEAST_PER_CELL: u32 = 1;

/// How often a reader looks at a cell that somebody edits.
const PATIENCE: u32 = 100;

/// A tile that is none.
const NO_KEY: u64 = u64::MAX;

/// 16 x 16 tiles, by number plus one.
struct Region {
    tiles: Box<[AtomicU32]>,
}

impl Default for Region {
    fn default() -> Self {
        Self { tiles: iter::repeat_with(AtomicU32::default).take(256).collect() }
    }
}

struct Tile {
    /// Row and column, or [`NO_KEY`].
    key: AtomicU64,
    /// The number of its first cell, and its level.
    cells: AtomicU64,
    /// How many drivers its cells list.
    drivers: AtomicU32,
}

impl Default for Tile {
    fn default() -> Self {
        Self { key: AtomicU64::new(NO_KEY), cells: AtomicU64::new(0), drivers: AtomicU32::new(0) }
    }
}

/// The cells of a tile, as found once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells {
    first: u32,
    level: u32,
}

impl Cells {
    fn pack(self) -> u64 {
        u64::from(self.first) << 8 | u64::from(self.level)
    }

    fn unpack(packed: u64) -> Self {
        Self { first: (packed >> 8) as u32, level: (packed & 0xff) as u32 }
    }

    fn count(self) -> u32 {
        1 << (2 * self.level)
    }

    /// The number of one of these cells.
    fn of(self, cell: CellId) -> u32 {
        let mask = (1 << self.level) - 1;
        self.first + (((cell.row & mask) << self.level | cell.col & mask) as u32)
    }

    /// The one of these cells, in the tile of this row and column, that is nearest to a place within its slack.
    fn nearest(self, place: Place, row: i64, col: i64) -> CellId {
        let (bits, widening) = (TILE_BITS - self.level, widening(row << TILE_BITS));
        let clamped = |at: i64, tile: i64| at.clamp(tile << self.level, ((tile + 1) << self.level) - 1);
        let (row, col) = (clamped(place.lat() >> bits, row), clamped(place.lng() >> (bits + widening), col));
        CellId { bits, widening, row, col }
    }
}

/// Tells tiles from each other.
fn key(row: i64, col: i64) -> u64 {
    (row << 32 | col) as u64
}

fn row_and_col(key: u64) -> (i64, i64) {
    (i64::from((key >> 32) as u32), i64::from(key as u32))
}

/// Where a driver is or will be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    tile: u32,
    key: u64,
    cells: Cells,
    /// The number of the cell.
    cell: u32,
}

/// What is not in use, and how many tiles each region has.
#[derive(Default)]
struct Stock {
    cells: [Vec<u32>; LEVELS],
    next_cells: u32,
    tiles: Vec<u32>,
    next_tile: u32,
    regions: Vec<u32>,
    tiles_of: Vec<u32>,
}

pub(super) struct Grid {
    /// The regions of each row of regions, by number plus one.
    rows: Box<[OnceLock<Box<[AtomicU32]>>]>,
    regions: Growing<Region, 4>,
    tiles: Growing<Tile, 6>,
    cells: Growing<Cell, 10>,
    blocks: Pool,
    stock: Mutex<Stock>,
    /// How often the structure changed.
    epoch: AtomicU64,
}

/// Blocks of cells that have too many drivers for themselves.
#[derive(Default)]
struct Pool {
    blocks: Growing<Block, 8>,
    /// Those not in use, and how many there are at all.
    stock: Mutex<(Vec<u32>, u32)>,
}

impl Blocks for Pool {
    fn get(&self, block: u32) -> &Block {
        self.blocks.get(block)
    }

    fn take(&self) -> u32 {
        let mut stock = self.stock.lock();
        stock.0.pop().unwrap_or_else(|| {
            let block = stock.1;
            self.blocks.make(block);
            stock.1 += 1;
            block
        })
    }

    fn give_back(&self, block: u32) {
        self.stock.lock().0.push(block);
    }
}

impl Default for Grid {
    fn default() -> Self {
        Self {
            rows: iter::repeat_with(OnceLock::new).take(REGION_ROWS).collect(),
            regions: Growing::default(),
            tiles: Growing::default(),
            cells: Growing::default(),
            blocks: Pool::default(),
            stock: Mutex::default(),
            epoch: AtomicU64::new(0),
        }
    }
}

impl Grid {
    /// The cell that would list a driver at `place`.
    pub(super) fn cell_for(&self, place: Place) -> CellId {
        let level = self.find_tile(CellId::of(place, TILE_BITS)).map_or(0, |(_, cells)| cells.level);
        CellId::of(place, TILE_BITS - level)
    }

    /// Lists a driver in another cell, in one or in none, if `commit` says that nothing has changed meanwhile: it writes the
    /// driver's record. Otherwise, or if the grid has changed, it is `false`, and to be tried anew.
    pub(super) fn relocate(
        &self,
        drivers: &Drivers,
        slot: u32,
        from: Option<CellId>,
        to: Option<CellId>,
        commit: impl FnOnce() -> bool,
    ) -> bool {
        let found = |cell: Option<CellId>, spot: Option<Spot>| cell.is_none() == spot.is_none();
        let old = from.and_then(|from| self.spot(from));
        let new = to.and_then(|to| self.spot(to).or_else(|| self.make_tile(to)));
        // Whoever is missing is in a tile that is just being divided anew.
        let done = found(from, old) && found(to, new) && self.exchange(slot, old, new, commit);
        let (old, new) = (old.map(|old| old.tile), new.map(|new| new.tile));
        if old != new {
            old.into_iter().chain(new).for_each(|tile| self.fit(tile, drivers));
        }
        done
    }

    fn exchange(&self, slot: u32, old: Option<Spot>, new: Option<Spot>, commit: impl FnOnce() -> bool) -> bool {
        // One cell, or two by number.
        let swapped = old.zip(new).is_some_and(|(old, new)| new.cell < old.cell);
        let (low, high) = if swapped { (new, old) } else { (old, new) };
        let high = high.filter(|high| low.is_none_or(|low| low.cell != high.cell));
        let Ok(mut low) = low.map(|low| self.lock(low).ok_or(())).transpose() else { return false };
        let Ok(mut high) = high.map(|high| self.lock(high).ok_or(())).transpose() else { return false };
        if !commit() {
            return false;
        }
        if old.map(|old| old.cell) == new.map(|new| new.cell) {
            return true;
        }
        let (from, into) = if swapped { (&mut high, &mut low) } else { (&mut low, &mut high) };
        if let Some(from) = from {
            from.remove(slot, &self.blocks);
        }
        if let Some(into) = into {
            into.push(slot, &self.blocks);
        }
        let (old, new) = (old.map(|old| old.tile), new.map(|new| new.tile));
        if old != new {
            old.inspect(|old| _ = self.tiles.get(*old).drivers.fetch_sub(1, Ordering::Relaxed));
            new.inspect(|new| _ = self.tiles.get(*new).drivers.fetch_add(1, Ordering::Relaxed));
        }
        true
    }

    /// Locks a cell, if it still is one of its tile.
    fn lock(&self, spot: Spot) -> Option<Editing<'_>> {
        let cell = self.cells.get(spot.cell).lock();
        let tile = self.tiles.get(spot.tile);
        let is_current =
            tile.key.load(Ordering::Relaxed) == spot.key && tile.cells.load(Ordering::Relaxed) == spot.cells.pack();
        is_current.then_some(cell)
    }

    /// Where a cell is, if its tile is divided into cells like it.
    fn spot(&self, cell: CellId) -> Option<Spot> {
        let up = TILE_BITS - cell.bits;
        let (tile, cells) =
            self.find_tile(CellId { bits: TILE_BITS, row: cell.row >> up, col: cell.col >> up, ..cell })?;
        (cells.level == up).then(|| Spot {
            tile,
            key: key(cell.row >> up, cell.col >> up),
            cells,
            cell: cells.of(cell),
        })
    }

    fn find_tile(&self, tile: CellId) -> Option<(u32, Cells)> {
        let region = self.region((tile.row >> 4) as usize, (tile.col >> 4) as usize)?;
        let number = self.number(region, child(tile.row, tile.col))?;
        let found = self.tiles.get(number);
        let cells = Cells::unpack(found.cells.load(Ordering::Acquire));
        (found.key.load(Ordering::Acquire) == key(tile.row, tile.col)).then_some((number, cells))
    }

    fn number(&self, region: u32, child: usize) -> Option<u32> {
        self.regions.get(region).tiles[child].load(Ordering::Acquire).checked_sub(1)
    }
}

/// Changes of the structure: all under the lock of the stock.
impl Grid {
    /// Makes the tile of a cell that is as large as it, if there is none.
    fn make_tile(&self, cell: CellId) -> Option<Spot> {
        let mut stock = self.stock.lock();
        // Another thread may have come first.
        if cell.bits != TILE_BITS || self.find_tile(cell).is_some() {
            return self.spot(cell);
        }
        let region = self.make_region(&mut stock, cell);
        stock.tiles_of[region as usize] += 1;
        let number = stock.tiles.pop().unwrap_or_else(|| {
            stock.next_tile += 1;
            self.tiles.make(stock.next_tile - 1);
            stock.next_tile - 1
        });
        let cells = self.take_cells(&mut stock, 0);
        let tile = self.tiles.get(number);
        tile.cells.store(cells.pack(), Ordering::Release);
        tile.key.store(key(cell.row, cell.col), Ordering::Release);
        self.regions.get(region).tiles[child(cell.row, cell.col)].store(number + 1, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.spot(cell)
    }

    fn make_region(&self, stock: &mut Stock, tile: CellId) -> u32 {
        let (row, col) = ((tile.row >> 4) as usize, (tile.col >> 4) as usize);
        if let Some(region) = self.region(row, col) {
            return region;
        }
        let number = stock.regions.pop().unwrap_or_else(|| {
            stock.tiles_of.push(0);
            self.regions.make(stock.tiles_of.len() as u32 - 1);
            stock.tiles_of.len() as u32 - 1
        });
        let length = (TURN >> (REGION_BITS + tile.widening)) as usize + 1;
        let regions = self.rows[row].get_or_init(|| iter::repeat_with(AtomicU32::default).take(length).collect());
        regions[col].store(number + 1, Ordering::Release);
        number
    }

    /// Divides a tile anew if its drivers are too many or too few for its cells, and drops it if it has none.
    fn fit(&self, number: u32, drivers: &Drivers) {
        let tile = self.tiles.get(number);
        let fits = || {
            let (cells, count) =
                (Cells::unpack(tile.cells.load(Ordering::Acquire)), tile.drivers.load(Ordering::Acquire));
            let too_many = count > MOST_PER_CELL * cells.count() && cells.level + 1 < LEVELS as u32;
            count > 0 && !too_many && (cells.level == 0 || count >= LEAST_PER_CELL * cells.count())
        };
        if fits() {
            return;
        }
        let mut stock = self.stock.lock();
        if fits() || tile.key.load(Ordering::Relaxed) == NO_KEY {
            return;
        }
        let cells = Cells::unpack(tile.cells.load(Ordering::Relaxed));
        let old: Vec<Editing<'_>> = self.all(cells).iter().map(Cell::lock).collect();
        // Nobody comes or goes now.
        match tile.drivers.load(Ordering::Relaxed) {
            0 => self.drop_tile(&mut stock, number, cells, old),
            count => self.divide(&mut stock, tile, cells, old, count, drivers),
        }
    }

    fn divide(
        &self,
        stock: &mut Stock,
        tile: &Tile,
        cells: Cells,
        mut old: Vec<Editing<'_>>,
        count: u32,
        drivers: &Drivers,
    ) {
        let level = (0..LEVELS as u32 - 1).find(|level| count <= MOST_PER_CELL << (2 * level) >> 1);
        let anew = self.take_cells(stock, level.unwrap_or(LEVELS as u32 - 1));
        let (row, col) = row_and_col(tile.key.load(Ordering::Relaxed));
        let mut new: Vec<Editing<'_>> = self.all(anew).iter().map(Cell::lock).collect();
        for cell in &old {
            for slot in cell.all(&self.blocks) {
                let mut record = drivers.record(slot).lock();
                let place = Place(record.place);
                let cell = anew.nearest(place, row, col);
                new[(anew.of(cell) - anew.first) as usize].push(slot, &self.blocks);
                record.stamp = Stamp(record.stamp).listed(Some(cell), place).0;
            }
        }
        tile.cells.store(anew.pack(), Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for cell in &mut old {
            cell.clear(&self.blocks);
        }
        drop((old, new));
        stock.cells[cells.level as usize].push(cells.first);
    }

    fn drop_tile(&self, stock: &mut Stock, number: u32, cells: Cells, old: Vec<Editing<'_>>) {
        let tile = self.tiles.get(number);
        let (row, col) = row_and_col(tile.key.swap(NO_KEY, Ordering::AcqRel));
        let (region_row, region_col) = ((row >> 4) as usize, (col >> 4) as usize);
        let region = self.region(region_row, region_col).expect("a tile is in a region");
        self.regions.get(region).tiles[child(row, col)].store(0, Ordering::Release);
        stock.tiles_of[region as usize] -= 1;
        if stock.tiles_of[region as usize] == 0 {
            self.rows[region_row].get().expect("a region is in a row")[region_col].store(0, Ordering::Release);
            stock.regions.push(region);
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
        drop(old);
        stock.cells[cells.level as usize].push(cells.first);
        stock.tiles.push(number);
    }

    /// `4^level` cells in a row that nobody uses: some that were used before, or a part of more such cells, or new ones.
    fn take_cells(&self, stock: &mut Stock, level: u32) -> Cells {
        let count = 1 << (2 * level);
        let first = stock.cells[level as usize].pop().unwrap_or_else(|| {
            if (level as usize) < LEVELS - 1 {
                let whole = self.take_cells(stock, level + 1);
                stock.cells[level as usize].extend((1..4).rev().map(|part| whole.first + part * count));
                return whole.first;
            }
            stock.next_cells += count;
            self.cells.make(stock.next_cells - count);
            stock.next_cells - count
        });
        Cells { first, level }
    }

    fn all(&self, cells: Cells) -> &[Cell] {
        &self.cells.from(cells.first)[..cells.count() as usize]
    }
}

impl Country for Grid {
    const SLACK: i64 = SLACK;

    type Tile = u32;

    fn region(&self, row: usize, col: usize) -> Option<u32> {
        self.rows[row].get()?[col].load(Ordering::Acquire).checked_sub(1)
    }

    fn tile(&self, region: u32, child: usize) -> Option<(u32, u32)> {
        let tile = self.tiles.get(self.number(region, child)?);
        let Cells { first, level } = Cells::unpack(tile.cells.load(Ordering::Acquire));
        Some((level, first))
    }

    fn points(&self, first_of_tile: u32, first: usize, count: usize) -> u32 {
        let cells = &self.cells.from(first_of_tile + first as u32)[..count];
        cells.iter().map(|cell| cell.look().map_or(0, |(_, length)| length as u32)).sum()
    }
}

/// The grid as searches see it.
pub(super) struct Listed<'a> {
    pub(super) grid: &'a Grid,
    pub(super) drivers: &'a Drivers,
}

impl Listed<'_> {
    /// Notes the slots listed in some cells; `false` if somebody edits one of them all the time.
    fn list(&self, run: &Run<u32>, found: &mut Found) -> bool {
        let first = run.tile + run.first as u32;
        found.runs.push((first, run.count as u32));
        for cell in &self.grid.cells.from(first)[..run.count] {
            let looks = (0..PATIENCE).map(|turn| cell.look().or_else(|| (pause(turn), None).1));
            let Some((seen, length)) = looks.flatten().next() else { return false };
            found.seen.push(seen);
            cell.read(length, &self.grid.blocks, &mut found.names);
        }
        true
    }

    /// Whether every cell is still as it was read, so that all were so at one instant.
    fn is_unchanged(&self, found: &Found) -> bool {
        let mut seen = found.seen.iter();
        found.runs.iter().all(|(first, count)| {
            let cells = &self.grid.cells.from(*first)[..*count as usize];
            cells.iter().zip(seen.by_ref()).all(|(cell, seen)| cell.is_still(*seen))
        })
    }
}

impl Field for Listed<'_> {
    const STILL: bool = false;

    fn len(&self) -> usize {
        self.drivers.len() as usize
    }

    fn density(&self, centre: &Centre, some: u32) -> f64 {
        ball::density(self.grid, centre, some)
    }

    fn gather(&self, ball: &Ball, found: &mut Found) -> bool {
        let epoch = self.grid.epoch.load(Ordering::Acquire);
        if !ball.visit(self.grid, |run| self.list(&run, found)) {
            return false;
        }
        self.drivers.locate(found);
        self.is_unchanged(found) && self.grid.epoch.load(Ordering::Acquire) == epoch
    }

    fn gather_slowly(&self, ball: &Ball, found: &mut Found) {
        self.drivers.locate_all(ball, found);
    }
}
