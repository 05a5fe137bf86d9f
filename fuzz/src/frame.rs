//! Frames of positions, as bytes.

use dispatch_server::fuzzing::frame as rewrite;
use dispatch_server::{FrameFix, encode_frame};

/// Whatever is read as a frame is the same when it is written again.
pub fn frame(input: &[u8]) {
    if let Ok(again) = rewrite(input) {
        assert_eq!(again, input, "the frame came back changed");
    }
}

/// A frame without motion, one with, and an empty one.
pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let fix = |driver: u32| FrameFix {
        driver,
        lat_e7: 525_200_000,
        lng_e7: -134_050_000,
        after_base_ms: -250,
        accuracy: 50,
        speed: FrameFix::UNKNOWN,
        heading: 9_000,
    };
    let fixes: Vec<_> = (0..3).map(fix).collect();
    vec![encode_frame(0, &fixes, false), encode_frame(1_767_225_600_000, &fixes, true), encode_frame(-1, &[], false)]
}
