//! The configuration as its users meet it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use dispatch_server::{ConfigError, DOCUMENTED_DEFAULTS, ServerConfig, Sources};

fn wrong(file: &str) -> String {
    Sources { file: Some(file.into()), ..Sources::default() }.load().unwrap_err().to_string()
}

#[test]
fn the_printed_configuration_is_the_default_and_complete() {
    let default = format!("{:?}", ServerConfig::default());
    let printed = Sources { file: Some(DOCUMENTED_DEFAULTS.into()), ..Sources::default() }.load().unwrap();
    assert_eq!(format!("{printed:?}"), default);
    let rules = format!("{:?}", dispatch_core::EngineConfig::default());
    assert!(default.contains(&rules), "the rules printed are those of the engine:\n{default}\n{rules}");
    assert!(default.contains(&format!("{:?}", dispatch_core::FixRules::default())));
    assert!(default.contains(&format!("{:?}", dispatch_core::StraightLine::default())));
}

#[test]
fn every_printed_key_says_what_it_means() {
    let mut commented = false;
    let mut shared = false;
    for line in DOCUMENTED_DEFAULTS.lines() {
        let is_key = line.split_once(" = ").is_some_and(|(key, _)| !key.starts_with([' ', '#', '{']));
        // Keys of one kind that follow each other share a comment.
        assert!(!is_key || commented || shared, "{line}");
        shared = is_key;
        commented = line.starts_with('#') || (commented && line.starts_with(' '));
    }
}

#[test]
fn later_sources_win() {
    let sources = Sources {
        file: Some("listen = \"127.0.0.1:1\"\n[rules.search]\nradius = 100.0".into()),
        environment: vec![
            ("DISPATCH_LISTEN".into(), "127.0.0.1:2".into()),
            ("DISPATCH_RULES_SEARCH_CANDIDATES".into(), "7".into()),
            ("PATH".into(), "everything else is not ours".into()),
        ],
        flags: Vec::new(),
    };
    let config = sources.load().unwrap();
    assert_eq!(config.listen.port(), 2);
    let shown = format!("{config:?}");
    assert!(shown.contains("radius: 100.0") || shown.contains("radius: Meters(100.0)"), "{shown}");
    assert!(shown.contains("candidates: 7"), "{shown}");
    let flagged = Sources { flags: vec!["listen=127.0.0.1:3".into()], ..sources };
    assert_eq!(flagged.load().unwrap().listen.port(), 3);
}

#[test]
fn another_kind_of_offers_replaces_the_one_before() {
    let wave = "offers = { wave = { size = 3, expires_after = 20000 } }";
    let file = format!(
        "[rules]\n{wave}\nbundles.mode = {{ nearby = {{ within = 500.0 }} }}\n\
         [[markets]]\nid = \"a\"\n[[markets]]\nid = \"b\"\ncells = [\"8a2a1072b59ffff\"]\n\
         rules.bundles.mode = {{ interleaved = {{ within = 600.0 }} }}\n\
         rules.offers = {{ sequential = {{ expires_after = 10000 }} }}"
    );
    let sources = Sources { file: Some(file), flags: vec!["rules.offers.wave.size=4".into()], ..Sources::default() };
    let shown = format!("{:?}", sources.load().unwrap());
    for part in ["Wave { size: 4, expires_after: Millis(20000) }", "Sequential { expires_after: Millis(10000) }"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(shown.contains("Nearby {") && shown.contains("Interleaved {"), "{shown}");
    for (wave, problem) in [
        ("size = 1, expires_after = 20000", "rules.offers.wave.size: must be 2 to 10"),
        ("size = 3, expires_after = 0", "rules.offers.wave.expires_after: "),
        ("size = 3", "rules.offers"),
    ] {
        let message = wrong(&format!("[rules]\noffers = {{ wave = {{ {wave} }} }}"));
        assert!(message.contains(problem), "{wave}\n{message}");
    }
}

/// Two keys: their names, and the digit of the second's hash where that of the first is 0.
fn key_twice(one: &str, other: &str, digit: &str) -> String {
    let key =
        |name: &str, digit: &str| format!("{{ name = {name:?}, hash = \"{}\", role = \"admin\" }}", digit.repeat(64));
    format!("keys = [{}, {}]", key(one, "0"), key(other, digit))
}

#[test]
fn errors_name_the_key() {
    for (file, key) in [
        ("listen = \"here\"", "listen: "),
        ("keys = [{ name = \"a\", hash = \"0\", role = \"root\" }]", "keys[0].hash: "),
        ("rates.reads_per_minute = 0", "rates.reads_per_minute: "),
        ("lisen = 1", "lisen"),
        ("[limits]\nqueue = 0", "limits.queue: "),
        ("[limits]\nqueue = \"x\"", "limits.queue: "),
        ("[limits]\nbody = 1", "limits"),
        ("[speeds]\ncar_kmh = 0.0", "speeds.car_kmh: "),
        ("[fixes]\nbelieve_after = 0", "fixes.believe_after: "),
        ("[fixes]\nper_second = 0.0", "fixes.per_second: must be 0.01 to 1000"),
        ("[fixes]\nper_second = \"x\"", "fixes.per_second: "),
        ("[fixes]\nburst = 0", "fixes.burst: must be 1 to 1000"),
        ("[fixes]\nbust = 1", "fixes"),
        ("[limits]\nshed_after_ms = 0", "limits.shed_after_ms: "),
        ("[limits]\nline_bytes = 255", "limits.line_bytes: "),
        ("[limits]\nstream_bytes = 1023", "limits.stream_bytes: "),
        ("[limits]\nsession_drivers = 0", "limits.session_drivers: "),
        ("[fixes]\nmax_drivers = 10", "fixes.max_drivers: "),
        ("markets = [{ id = \"a\", rules = { limits = { drivers = 1000001 } } }]", "fixes.max_drivers: "),
        ("[limits]\nconnections = 0", "limits.connections: "),
        ("[limits]\nidle_seconds = 0", "limits.idle_seconds: "),
        ("[limits]\nheader_bytes = 8191", "limits.header_bytes: "),
        ("[limits]\nheader_seconds = 0", "limits.header_seconds: "),
        ("[limits]\nstall_seconds = 0", "limits.stall_seconds: "),
        ("[limits]\nconnections_per_address = 1000001", "limits.connections_per_address: "),
        ("[limits]\ndrain_notice_seconds = 3601", "limits.drain_notice_seconds: "),
        ("tls.certificate = \"a.pem\"", "tls.key: must be a file, as tls.certificate is one"),
        ("tls.key = \"a.pem\"", "tls.certificate: must be a file, as tls.key is one"),
        ("cors.origins = [\"*\"]", "cors.origins[0]: must be an origin"),
        ("cors.origins = [\"https://a\", \"null\"]", "cors.origins[1]: "),
        ("cors.origins = [\"https://a.example/\"]", "cors.origins[0]: "),
        ("cors.origins = [\"https://A.example\"]", "cors.origins[0]: "),
        ("cors.origins = [\"https://\"]", "cors.origins[0]: "),
        ("cors.origins = [\"https://*.example\"]", "cors.origins[0]: "),
        ("cors.origins = [\"ftp://a.example\"]", "cors.origins[0]: "),
        ("[rules]\nwindow = 0", "rules.window: "),
        ("[rules.search]\nradius = -1.0", "rules.search.radius: "),
        ("[rules]\nscore = [{ term = \"luck\", weight = 1.0 }]", "rules.score"),
        ("markets = []", "markets: "),
        ("markets = [{ id = \"a\" }, { id = \"b\" }]", "markets[1]: "),
        ("markets = [{ id = \"a\" }, { id = \"a\", cells = [\"8a2a1072b59ffff\"] }]", "markets[1].id: "),
        ("markets = [{ id = \"a\", cells = [\"x\"] }]", "markets[0].cells: "),
        ("markets = [{ id = \"a\", polygon = [[0.0, 0.0]] }]", "markets[0].polygon: "),
        ("markets = [{ id = \"a\", rules = { window = 0 } }]", "markets[0].rules.window: "),
        ("markets = [{ id = \"a\", rules = { windw = 1 } }]", "markets[0].rules"),
        ("keys = [{ name = \"a\", hash = \"0\", role = \"admin\" }]", "keys[0].hash: "),
        (&key_twice("a", "a", "1"), "keys[1]: has the name"),
        (&key_twice("a", "b", "0"), "keys[1]: has the name"),
    ] {
        let message = wrong(file);
        assert!(message.contains(key), "{file}\n{message}");
    }
    let both = wrong("[limits]\nqueue = 0\npage = 0");
    assert!(both.contains("limits.queue") && both.contains("limits.page"), "{both}");
    assert!(matches!(
        Sources { flags: vec!["queue".into()], ..Sources::default() }.load(),
        Err(ConfigError::Source { .. })
    ));
}

#[test]
fn variables_that_name_no_setting_are_errors() {
    let load = |name: &str, value: &str| {
        Sources { environment: vec![(name.into(), value.into())], ..Sources::default() }.load()
    };
    for (name, value) in [
        ("DISPATCH_LIMTS_QUEUE", "5"),
        ("DISPATCH_LIMITS_QUEUE_", "5"),
        ("DISPATCH_limits_queue", "5"),
        ("DISPATCH_PORT", "9000"),
        ("DISPATCH_PORT_8080", "9000"),
        ("DISPATCH_", ""),
    ] {
        let error = load(name, value).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{name}: names no setting")), "{error}");
    }
    // What Kubernetes sets in every container beside services called `dispatch` and `dispatch-server`.
    for (name, value) in [
        ("DISPATCH_SERVICE_HOST", "10.0.0.1"),
        ("DISPATCH_SERVICE_PORT", "8080"),
        ("DISPATCH_SERVICE_PORT_HTTP", "8080"),
        ("DISPATCH_PORT", "tcp://10.0.0.1:8080"),
        ("DISPATCH_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("DISPATCH_PORT_8080_TCP_PROTO", "tcp"),
        ("DISPATCH_PORT_8080_TCP_PORT", "8080"),
        ("DISPATCH_SERVER_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("DISPATCH_SERVER_SERVICE_PORT", "8080"),
        ("DISPATCH_CONFIG", "dispatch.toml"),
        ("DISPATCHER", "somebody else"),
    ] {
        load(name, value).unwrap();
    }
}
