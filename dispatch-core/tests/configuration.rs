//! The rules of a market: who sets them, and how to go back.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Market, config};
use dispatch_core::{Action, EngineConfig, EventKind, MAX_FORMER_CONFIGS, Millis, Refusal, Role};

fn with_window(millis: i64) -> EngineConfig {
    EngineConfig { window: Millis::new(millis), ..config() }
}

fn configure(market: &mut Market, millis: i64) {
    market.by(Role::Dispatcher, Action::Configure(Box::new(with_window(millis))));
}

#[test]
fn former_rules_come_back_as_a_new_version() {
    let mut market = Market::new(with_window(1_000));
    configure(&mut market, 2_000);
    configure(&mut market, 3_000);
    let news = market.by(Role::System, Action::RollBackConfiguration { version: 1 });
    assert_eq!(news, [EventKind::Configured { version: 4, config: Box::new(with_window(1_000)) }]);
    let state = market.engine.state();
    assert_eq!((state.config_version, &state.config), (4, &with_window(1_000)));
    assert_eq!(state.former_configs.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    // A step back can be taken back.
    market.by(Role::Dispatcher, Action::RollBackConfiguration { version: 3 });
    assert_eq!(market.engine.state().config, with_window(3_000));
}

#[test]
fn rules_that_are_in_force_unknown_or_forgotten_are_nothing_to_go_back_to() {
    let mut market = Market::new(with_window(1_000));
    let back =
        |market: &mut Market, version| market.try_by(Role::Dispatcher, Action::RollBackConfiguration { version });
    for version in [0, 1, 2, u32::MAX] {
        assert_eq!(back(&mut market, version), Err(Refusal::UnknownConfiguration { version }));
    }
    let most = i64::try_from(MAX_FORMER_CONFIGS).unwrap();
    for version in 0..=most {
        configure(&mut market, 2_000 + version);
    }
    assert_eq!(market.engine.state().former_configs.len(), MAX_FORMER_CONFIGS);
    let refused = back(&mut market, 1).unwrap_err();
    assert_eq!(refused.to_string(), "there is no former configuration 1 in memory");
    back(&mut market, 2).unwrap();
    assert_eq!(market.engine.state().config, with_window(2_000));
}

#[test]
fn only_dispatchers_and_the_system_set_rules() {
    let mut market = Market::new(with_window(1_000));
    configure(&mut market, 2_000);
    for role in [Role::Customer, Role::Merchant, Role::Driver] {
        for action in [Action::Configure(Box::new(with_window(5_000))), Action::RollBackConfiguration { version: 1 }] {
            let name = action.name();
            assert_eq!(market.try_by(role, action), Err(Refusal::NotForRole { role, action: name }));
        }
    }
    market.by(Role::System, Action::Configure(Box::new(with_window(5_000))));
}
