//! How much memory this process takes.

/// A figure of `/proc/self/status` in bytes, such as `VmRSS` or `VmHWM`; 0 where the system does not say.
pub(crate) fn bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes * 1_024)
}
