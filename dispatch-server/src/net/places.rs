//! How many connections one address has.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The connections of each address, of which none may have too many.
#[derive(Debug)]
pub(super) struct Places {
    /// Zero is no limit.
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A place for one more connection of this address until what this gives is dropped; `None` if it has too many.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let owner = owner(address);
        // What comes from this machine comes through a proxy, and is many clients.
        if self.most == 0 || owner.is_loopback() {
            return Some(Place { places: None, owner });
        }
        let mut taken = self.taken.lock();
        let count = taken.entry(owner).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { places: Some(self.clone()), owner })
    }
}

/// Who an address belongs to: of IPv6, each customer has 2^64 of them.
pub(crate) fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    places: Option<Arc<Places>>,
    owner: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = &self.places else { return };
        let mut taken = places.taken.lock();
        if let Some(count) = taken.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let places = Places::new(2);
        for (one, same, other) in [
            ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
        ] {
            let take = |address: &str| places.take(address.parse().unwrap());
            let (first, second) = (take(one), take(same));
            assert!(first.is_some() && second.is_some());
            assert!(take(one).is_none() && take(same).is_none(), "{one} has two");
            assert!(take(other).is_some());
            drop(first);
            assert!(take(same).is_some());
        }
        assert!(places.taken.lock().is_empty(), "who is gone leaves nothing");
    }

    #[test]
    fn this_machine_and_where_there_is_no_limit_have_as_many_as_they_like() {
        for (most, address) in [(1, "127.0.0.7"), (1, "::1"), (1, "::ffff:127.0.0.1"), (0, "10.0.0.1")] {
            let places = Places::new(most);
            let taken: Vec<_> = (0..9).map(|_| places.take(address.parse().unwrap())).collect();
            assert!(taken.iter().all(Option::is_some), "{address}");
        }
    }
}
