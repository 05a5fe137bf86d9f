//! The server that is besieged: two tenants, and who has which key.

use crate::child::Server;
use crate::folder::Folder;
use dispatch_server::{DOCUMENTED_DEFAULTS, KeyHash};
use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;

/// The key of those who mean well, and the one of a driver of theirs that was stolen.
pub(crate) const HONEST_KEY: &str = "siege-honest";
pub(crate) const STOLEN_KEY: &str = "siege-stolen";

/// The key that the greedy tenant's attackers do not have.
pub(crate) const GREEDY_ADMIN: &str = "siege-greedy-admin";

/// The greedy tenant's keys, all at the usual rate: so many of dispatchers, so many of gateways.
pub(crate) const DISPATCHERS: usize = 16;
pub(crate) const GATEWAYS: usize = 4;

/// One of these keys.
pub(crate) fn greedy_key(role: &str, number: usize) -> String {
    format!("siege-{role}-{number}")
}

/// The settings of the server; the rest are the defaults.
pub(crate) fn flags(directory: &Path) -> Vec<String> {
    let key = |key: &str, tenant: &str, what: &str| {
        let hash = KeyHash::of(key).to_hex();
        format!("{{ name = {key:?}, hash = {hash:?}, tenant = {tenant:?}, {what} }}")
    };
    let mut keys = vec![
        key(HONEST_KEY, "b", "role = \"admin\", rate = 1000.0"),
        key(STOLEN_KEY, "b", "role = \"driver\", driver = \"d-0\", rate = 1000.0"),
        key(GREEDY_ADMIN, "a", "role = \"admin\", rate = 1000.0"),
    ];
    for (role, count) in [("dispatcher", DISPATCHERS), ("gateway", GATEWAYS)] {
        let what = format!("role = {role:?}");
        keys.extend((0..count).map(|number| key(&greedy_key(role, number), "a", &what)));
    }
    let markets = "markets=[{ id = \"a\", tenant = \"a\" }, { id = \"b\", tenant = \"b\" }]";
    let data_dir = format!("data_dir={}", directory.display());
    vec![data_dir, markets.to_owned(), format!("keys=[{}]", keys.join(", "))]
}

/// Starts it on what is in the folder.
pub(crate) fn open(folder: &Folder) -> Result<Server, Box<dyn Error>> {
    Server::start([OsStr::new("--serve"), folder.0.as_os_str()])
}

/// The default of a setting that is a number.
pub(crate) fn default_of(setting: &str) -> f64 {
    let value = DOCUMENTED_DEFAULTS.split(&format!("\n{setting} = ")).nth(1).and_then(|rest| rest.lines().next());
    value.and_then(|value| value.parse().ok()).expect("the defaults name every setting")
}
