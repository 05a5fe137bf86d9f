//! The whole server inside an application of your own, below a prefix.
//!
//! `cargo run --release --example embed_in_axum`

use dispatch_server::{Sources, State, router};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // By default what happens is kept in `dispatch-data`; this example leaves nothing behind.
    let config = Sources { flags: vec!["durability=memory".into()], ..Sources::default() }.load()?;
    let state = State::start(config)?;
    let app = axum::Router::new()
        .route("/", axum::routing::get(async || "an application with dispatch inside"))
        .nest("/dispatch", router(state.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/dispatch", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app).into_future());

    let markets = reqwest::get(format!("{url}/v1/markets")).await?.text().await?;
    println!("{url}/v1/markets answers {markets}");
    assert!(markets.contains(r#""id":"default""#));
    assert!(reqwest::get(format!("{url}/docs/")).await?.status().is_success());
    state.stop().await;
    Ok(())
}
