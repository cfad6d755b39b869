//! Pages of a daemon: readiness and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No page takes longer.
const LIMIT: Duration = Duration::from_secs(5);

/// Status and body of a page.
///
/// # Errors
/// No connection or no answer within five seconds.
pub async fn get(at: SocketAddr, path: &str) -> Result<(u16, String)> {
    timeout(LIMIT, ask(at, path))
        .await
        .with_context(|| format!("{at}{path}"))?
}

async fn ask(at: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(at).await.context("connecting")?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .context("asking")?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .await
        .context("reading the answer")?;
    let (head, body) = text.split_once("\r\n\r\n").context("half an answer")?;
    let status = head
        .split(' ')
        .nth(1)
        .context("an answer without a status")?;
    Ok((
        status.parse().context("reading the status")?,
        body.to_owned(),
    ))
}
