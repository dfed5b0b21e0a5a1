//! A program that asks a flag and hears of changes. The README shows it.

use rampart::client::Client;
use rampart::eval::context::Context;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder("http://localhost:8013").name("my-app").keep("my-app.flags").connect().await?;

    let user = Context::from_json(br#"{"targetingKey": "user-1", "email": "ada@example.com"}"#)?;
    println!("sliceB_documents: {}", client.bool("sliceB_documents", &user, false));

    let mut events = client.events(); // an edit or a kill arrives by itself
    while let Some(event) = events.next().await {
        println!("{event:?}: {}", client.bool("sliceB_documents", &user, false));
    }
    Ok(())
}
