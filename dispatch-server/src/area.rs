//! The area of a market: where a pickup has to be for its order to belong there.

use dispatch_core::Position;
use h3o::{CellIndex, Resolution};
use std::collections::{BTreeMap, BTreeSet};

/// Where a market is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Area {
    /// Wherever no other market is.
    Everywhere,
    /// In one of these H3 cells, by their resolution.
    Cells(BTreeMap<Resolution, BTreeSet<CellIndex>>),
    /// Within this ring of latitude and longitude.
    Polygon(Vec<Position>),
}

/// Most H3 cells or corners of one area.
pub(crate) const MAX_AREA: usize = 100_000;

impl Area {
    /// An area of H3 cells, of one resolution or several.
    pub(crate) fn of_cells(cells: &[String]) -> Result<Self, String> {
        let mut by_resolution: BTreeMap<Resolution, BTreeSet<CellIndex>> = BTreeMap::new();
        if cells.is_empty() || cells.len() > MAX_AREA {
            return Err(format!("must have 1 to {MAX_AREA} H3 cells, not {}", cells.len()));
        }
        for cell in cells {
            let cell: CellIndex = cell.parse().map_err(|_| format!("`{cell}` is no H3 cell"))?;
            by_resolution.entry(cell.resolution()).or_default().insert(cell);
        }
        Ok(Self::Cells(by_resolution))
    }

    /// The inside of a ring of `[lng, lat]` corners; the last corner may repeat the first. Sides are straight in
    /// latitude and longitude, and none crosses the antimeridian.
    pub(crate) fn of_polygon(corners: &[[f64; 2]]) -> Result<Self, String> {
        let ring: Result<Vec<Position>, _> = corners.iter().map(|[lng, lat]| Position::new(*lat, *lng)).collect();
        let mut ring = ring.map_err(|error| error.to_string())?;
        if ring.len() > 1 && ring.first() == ring.last() {
            ring.pop();
        }
        if !(3..=MAX_AREA).contains(&ring.len()) {
            return Err(format!("must have 3 to {MAX_AREA} corners, not {}", ring.len()));
        }
        if sides(&ring).any(|(a, b)| (a.lng() - b.lng()).abs() > 180.0) {
            return Err("must not cross the antimeridian: make two markets, or use H3 cells".into());
        }
        Ok(Self::Polygon(ring))
    }

    /// Whether a position is in the area.
    pub(crate) fn contains(&self, position: Position) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Cells(cells) => cells.iter().any(|(resolution, cells)| cells.contains(&position.cell(*resolution))),
            // A ray to the east crosses the sides an odd number of times from inside.
            Self::Polygon(ring) => sides(ring).filter(|(a, b)| is_crossed(*a, *b, position)).count() % 2 == 1,
        }
    }
}

fn sides(ring: &[Position]) -> impl Iterator<Item = (Position, Position)> {
    let next = ring.iter().cycle().skip(1);
    ring.iter().copied().zip(next.copied())
}

/// Whether the ray from `at` to the east crosses the side from `a` to `b`.
fn is_crossed(a: Position, b: Position, at: Position) -> bool {
    let spans = (a.lat() > at.lat()) != (b.lat() > at.lat());
    spans && at.lng() < a.lng() + (at.lat() - a.lat()) / (b.lat() - a.lat()) * (b.lng() - a.lng())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lng: f64) -> Position {
        Position::new(lat, lng).unwrap()
    }

    #[test]
    fn inside_and_outside_of_a_ring() {
        // An L: the square from 0,0 to 2,2 without its upper right quarter.
        let area = Area::of_polygon(&[[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0], [0.0, 2.0]]).unwrap();
        for (lat, lng, inside) in
            [(0.5, 0.5, true), (0.5, 1.5, true), (1.5, 0.5, true), (1.5, 1.5, false), (3.0, 0.5, false)]
        {
            assert_eq!(area.contains(at(lat, lng)), inside, "{lat},{lng}");
        }
    }

    #[test]
    fn inside_and_outside_of_cells_of_several_resolutions() {
        let (here, there) = (at(52.52, 13.40), at(48.14, 11.58));
        let cells = [here.cell(Resolution::Five), there.cell(Resolution::Eight)].map(|cell| cell.to_string());
        let area = Area::of_cells(&cells).unwrap();
        assert!(area.contains(here) && area.contains(there));
        assert!(!area.contains(at(52.0, 10.0)));
    }

    #[test]
    fn refuses_what_is_no_area() {
        assert!(Area::of_polygon(&[[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]).unwrap_err().contains("3 to"));
        assert!(Area::of_polygon(&[[0.0, 91.0], [1.0, 0.0], [0.0, 1.0]]).unwrap_err().contains("lat"));
        assert!(Area::of_polygon(&[[179.0, 0.0], [-179.0, 0.0], [0.0, 1.0]]).unwrap_err().contains("antimeridian"));
        assert!(Area::of_cells(&["8x".into()]).unwrap_err().contains("8x"));
        assert!(Area::of_cells(&[]).is_err());
    }
}
