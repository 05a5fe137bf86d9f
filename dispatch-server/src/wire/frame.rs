//! Positions as bytes, for senders of many: a header and then one record for each, all numbers little endian.
//!
//! ```text
//! header, 16 bytes                        record, 16 bytes, 22 with motion
//!  0  2  "DF"                              0  4  driver: its number in the session's table
//!  2  1  version: 1                        4  4  latitude in 1e-7 degree, signed
//!  3  1  flags: bit 0, records have motion 8  4  longitude in 1e-7 degree, signed
//!  4  4  how many records                 12  4  milliseconds after the base time, signed
//!  8  8  base time: milliseconds since    16  2  accuracy in 0.1 m        0xffff: unknown
//!        1970, signed                     18  2  speed in 0.01 m/s        0xffff: unknown
//!                                         20  2  heading in 0.01 degree   0xffff: unknown
//! ```

use dispatch_core::{Fix, Meters, Motion, Position, Timestamp};

/// What a frame begins with.
const MAGIC: [u8; 2] = *b"DF";
const VERSION: u8 = 1;
/// The flag of frames whose records have motion.
const MOTION: u8 = 1;
const HEADER: usize = 16;
const PLAIN: usize = 16;
const MOVING: usize = PLAIN + 6;

/// One position of a frame, in the units of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFix {
    /// The number of the driver in the session's table.
    pub driver: u32,
    /// Latitude in 1e-7 degree, -900,000,000 to 900,000,000.
    pub lat_e7: i32,
    /// Longitude in 1e-7 degree, -1,800,000,000 to 1,800,000,000.
    pub lng_e7: i32,
    /// When it was measured, in milliseconds after the frame's base time.
    pub after_base_ms: i32,
    /// Accuracy in 0.1 m; [`FrameFix::UNKNOWN`] if unknown.
    pub accuracy: u16,
    /// Speed in 0.01 m/s; [`FrameFix::UNKNOWN`] if unknown.
    pub speed: u16,
    /// Heading in 0.01 degree clockwise from north, below 36,000; [`FrameFix::UNKNOWN`] if unknown.
    pub heading: u16,
}

impl FrameFix {
    /// An accuracy, speed or heading that is not known.
    pub const UNKNOWN: u16 = 0xffff;

    fn has_motion(&self) -> bool {
        [self.accuracy, self.speed, self.heading] != [Self::UNKNOWN; 3]
    }

    /// Where the driver was and when, and how it moved; `None` for what is nowhere on earth, or a direction that is none.
    pub(crate) fn read(&self, base: Timestamp) -> Option<(Fix, Motion)> {
        let position = Position::new(f64::from(self.lat_e7) / 1e7, f64::from(self.lng_e7) / 1e7).ok()?;
        let at = Timestamp::from_millis(base.as_millis().saturating_add(self.after_base_ms.into()));
        let known = |value: u16| (value != Self::UNKNOWN).then(|| f64::from(value));
        let motion = if self.has_motion() {
            Motion {
                accuracy: known(self.accuracy).and_then(|accuracy| Meters::new(accuracy / 10.0).ok()),
                speed_mps: known(self.speed).map(|speed| speed / 100.0),
                heading_deg: known(self.heading).map(|heading| heading / 100.0),
            }
        } else {
            Motion::default()
        };
        let is_direction = self.heading < 36_000 || self.heading == Self::UNKNOWN;
        is_direction.then_some((Fix { position, at }, motion))
    }
}

/// Writes a frame: `base_ms` is its base time in milliseconds since 1970. Without `with_motion` accuracy, speed and heading are left out,
/// which takes 6 bytes less for each.
///
/// ```
/// use dispatch_server::{FrameFix, encode_frame};
/// let unknown = FrameFix::UNKNOWN;
/// let fix = FrameFix {
///     driver: 7, lat_e7: 525_200_000, lng_e7: 134_050_000, after_base_ms: -250, accuracy: unknown, speed: unknown, heading: unknown,
/// };
/// assert_eq!(encode_frame(1_767_225_600_000, &[fix], false).len(), 32);
/// ```
pub fn encode_frame(base_ms: i64, fixes: &[FrameFix], with_motion: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + fixes.len() * MOVING);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, if with_motion { MOTION } else { 0 }]);
    let count = u32::try_from(fixes.len()).expect("so many do not fit into the memory of a sender");
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&base_ms.to_le_bytes());
    for fix in fixes {
        bytes.extend_from_slice(&fix.driver.to_le_bytes());
        for number in [fix.lat_e7, fix.lng_e7, fix.after_base_ms] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        if with_motion {
            for number in [fix.accuracy, fix.speed, fix.heading] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
    bytes
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame begins with 16 bytes, DF and the version 1")]
    Header,
    #[error("a frame of version 1 has no flags but 1, and these are {0}")]
    Flags(u8),
    #[error("a frame has at most {most} positions, not {count}")]
    TooMany { count: u32, most: usize },
    #[error("a frame of {count} positions has {expected} bytes, not {len}")]
    Length { count: u32, expected: usize, len: usize },
}

/// A frame in the bytes that it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    base: Timestamp,
    has_motion: bool,
    records: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the header and checks that the records are all there and nothing else; what they say is checked one by one.
    pub(crate) fn read(bytes: &'a [u8], most: usize) -> Result<Self, FrameError> {
        let (header, records) = bytes.split_first_chunk::<HEADER>().ok_or(FrameError::Header)?;
        let [d, f, version, flags, count @ .., _, _, _, _, _, _, _, _] = *header;
        if [d, f] != MAGIC || version != VERSION {
            return Err(FrameError::Header);
        }
        if flags & !MOTION != 0 {
            return Err(FrameError::Flags(flags));
        }
        let (count, has_motion) = (u32::from_le_bytes(count), flags & MOTION != 0);
        if count as usize > most {
            return Err(FrameError::TooMany { count, most });
        }
        let expected = count as usize * record_size(has_motion);
        if records.len() != expected {
            return Err(FrameError::Length { count, expected: expected + HEADER, len: bytes.len() });
        }
        let base = Timestamp::from_millis(i64::from_le_bytes(number(header, 8)));
        Ok(Self { base, has_motion, records })
    }

    /// The time that those of the records are counted from.
    pub(crate) fn base(&self) -> Timestamp {
        self.base
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len() / record_size(self.has_motion)
    }

    /// The records, in sequence.
    pub(crate) fn fixes(&self) -> impl Iterator<Item = FrameFix> + 'a {
        let has_motion = self.has_motion;
        self.records.chunks_exact(record_size(has_motion)).map(move |record| {
            let motion =
                |at: usize| if has_motion { u16::from_le_bytes(number(record, at)) } else { FrameFix::UNKNOWN };
            FrameFix {
                driver: u32::from_le_bytes(number(record, 0)),
                lat_e7: i32::from_le_bytes(number(record, 4)),
                lng_e7: i32::from_le_bytes(number(record, 8)),
                after_base_ms: i32::from_le_bytes(number(record, 12)),
                accuracy: motion(16),
                speed: motion(18),
                heading: motion(20),
            }
        })
    }
}

fn record_size(has_motion: bool) -> usize {
    if has_motion { MOVING } else { PLAIN }
}

fn number<const SIZE: usize>(bytes: &[u8], at: usize) -> [u8; SIZE] {
    *bytes[at..].first_chunk().expect("headers and records are as long as their numbers need")
}

/// Reads a frame and writes it again, for fuzzing and tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn rewrite(bytes: &[u8], most: usize) -> Result<Vec<u8>, FrameError> {
    let frame = Frame::read(bytes, most)?;
    let fixes: Vec<_> = frame.fixes().collect();
    // What they say is read, whatever it is.
    let _ = fixes.iter().filter(|fix| fix.read(frame.base()).is_some()).count();
    Ok(encode_frame(frame.base().as_millis(), &fixes, frame.has_motion))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fix() -> FrameFix {
        FrameFix {
            driver: 7,
            lat_e7: 525_200_000,
            lng_e7: -134_050_000,
            after_base_ms: -250,
            accuracy: 50,
            speed: FrameFix::UNKNOWN,
            heading: 9_000,
        }
    }

    /// The example of docs/ingest.md.
    const EXAMPLE: &str = "44 46 01 01 01 00 00 00 00 a8 da 76 9b 01 00 00 \
                           07 00 00 00 80 ea 4d 1f 30 8f 02 f8 06 ff ff ff 32 00 ff ff 28 23";

    #[test]
    fn the_documented_example_is_what_is_written() {
        let bytes = encode_frame(1_767_225_600_000, &[fix()], true);
        let text: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text.join(" "), EXAMPLE);
        let frame = Frame::read(&bytes, 1).unwrap();
        let (read, motion) = frame.fixes().next().unwrap().read(frame.base()).unwrap();
        assert_eq!(
            (read.position.lat().to_bits(), read.position.lng().to_bits()),
            (52.52f64.to_bits(), (-13.405f64).to_bits())
        );
        assert_eq!(read.at.as_millis(), 1_767_225_599_750);
        let accuracy = Meters::new(5.0).ok();
        assert_eq!(motion, Motion { accuracy, speed_mps: None, heading_deg: Some(90.0) });
    }

    #[test]
    fn what_is_no_frame_is_refused_for_its_reason() {
        let good = encode_frame(0, &[fix(), fix()], false);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Frame::read(&bytes, 2).map(|frame| frame.len())
        };
        assert_eq!(Frame::read(&good, 2).map(|frame| frame.len()), Ok(2));
        for at in 0..3 {
            assert_eq!(with(at, 0), Err(FrameError::Header));
        }
        assert_eq!(with(3, 2), Err(FrameError::Flags(2)));
        assert_eq!(with(3, 1), Err(FrameError::Length { count: 2, expected: 60, len: 48 }));
        assert_eq!(with(4, 3), Err(FrameError::TooMany { count: 3, most: 2 }));
        assert_eq!(with(4, 1), Err(FrameError::Length { count: 1, expected: 32, len: 48 }));
        assert_eq!(Frame::read(&good[..15], 2).map(|frame| frame.len()), Err(FrameError::Header));
        assert_eq!(Frame::read(&encode_frame(0, &[], true), 0).map(|frame| frame.len()), Ok(0));
    }

    #[test]
    fn what_is_nowhere_or_no_direction_is_not_read() {
        let base = Timestamp::from_millis(0);
        assert!(fix().read(base).is_some());
        assert!(FrameFix { heading: 35_999, ..fix() }.read(base).is_some());
        for wrong in [
            FrameFix { lat_e7: 900_000_001, ..fix() },
            FrameFix { lat_e7: i32::MIN, ..fix() },
            FrameFix { lng_e7: -1_800_000_001, ..fix() },
            FrameFix { heading: 36_000, ..fix() },
        ] {
            assert_eq!(wrong.read(base), None, "{wrong:?}");
        }
        let (late, _) = FrameFix { after_base_ms: i32::MAX, ..fix() }.read(Timestamp::from_millis(i64::MAX)).unwrap();
        assert_eq!(late.at.as_millis(), i64::MAX);
    }

    fn any_fix() -> impl Strategy<Value = FrameFix> {
        let known = || prop_oneof![Just(FrameFix::UNKNOWN), any::<u16>()];
        (any::<(u32, i32, i32, i32)>(), known(), known(), known()).prop_map(
            |((driver, lat_e7, lng_e7, after_base_ms), accuracy, speed, heading)| FrameFix {
                driver,
                lat_e7,
                lng_e7,
                after_base_ms,
                accuracy,
                speed,
                heading,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(fixes in proptest::collection::vec(any_fix(), 0..50), base: i64, with_motion: bool) {
            let bytes = encode_frame(base, &fixes, with_motion);
            prop_assert_eq!(rewrite(&bytes, 50), Ok(bytes.clone()));
            let read: Vec<_> = Frame::read(&bytes, 50).unwrap().fixes().collect();
            let unknown = FrameFix::UNKNOWN;
            let plain = |fix: FrameFix| FrameFix { accuracy: unknown, speed: unknown, heading: unknown, ..fix };
            let kept: Vec<_> = fixes.into_iter().map(|fix| if with_motion { fix } else { plain(fix) }).collect();
            prop_assert_eq!(read, kept);
        }

        #[test]
        fn any_bytes_are_a_frame_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), is_close: bool) {
            if is_close && bytes.len() >= HEADER {
                // As near to a frame as can be: only what the records say is left to chance.
                let count = (bytes.len() - HEADER) / PLAIN;
                bytes.truncate(HEADER + count * PLAIN);
                bytes[..8].copy_from_slice(&[b'D', b'F', VERSION, 0, count as u8, 0, 0, 0]);
            }
            match rewrite(&bytes, 100) {
                Ok(again) => prop_assert_eq!(again, bytes),
                Err(error) => prop_assert!(!is_close || bytes.len() < HEADER, "{}", error),
            }
        }
    }
}
