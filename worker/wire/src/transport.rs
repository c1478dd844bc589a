//! From an address to the stream that a connection speaks on.

use tokio::net::TcpStream;

use crate::config::{Address, Config};

/// What a connection speaks on.
pub(crate) type Stream = TcpStream;

/// Resolves the name and connects. The error is a reason.
pub(crate) async fn dial(address: &Address) -> Result<TcpStream, String> {
    let socket = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|error| error.to_string())?;
    // Requests are small and someone waits for each.
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(socket)
}

/// Turns the bare socket into the stream that a connection speaks on, as the configuration says: plain text, which is all it can say
/// so far. TLS wraps the socket here; SASL speaks on the result, before anybody else does.
pub(crate) async fn secure(socket: TcpStream, _config: &Config) -> Result<Stream, String> {
    Ok(socket)
}
