//! A worker inside of a program that has a runtime of its own.

use std::net::SocketAddr;

use crate::control::Handle;
use crate::error::{Error, Result};

/// A running worker. Dropping it stops nothing; [`stop`](Worker::stop) does.
pub struct Worker(Handle);

impl Worker {
    pub(crate) fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// Resolves when the worker has joined its group and its tasks run.
    pub async fn ready(&self) -> Result<()> {
        tokio::select! {
            biased;
            end = self.0.ended() => match end {
                Ok(()) => Err(Error::msg("the worker has stopped")),
                Err(fault) => Err(fault.into()),
            },
            () = self.0.ready() => Ok(()),
        }
    }

    /// Where its HTTP pages are.
    pub fn web(&self) -> SocketAddr {
        self.0.web
    }

    /// Where its admin server is, if it has one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.0.admin
    }

    /// Finishes what is in hand, commits, and leaves the group, or keeps its place there that has an instance id.
    pub async fn stop(self) -> Result<()> {
        self.0.stop();
        Ok(self.0.ended().await?)
    }

    /// Resolves when the worker ends by itself.
    pub async fn wait(&self) -> Result<()> {
        Ok(self.0.ended().await?)
    }
}
