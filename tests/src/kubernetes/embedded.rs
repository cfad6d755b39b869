//! The in-memory API server of this crate, as a face of the fixture.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::apiserver::ApiServer;

pub(super) struct EmbeddedServer(ApiServer);

impl EmbeddedServer {
    pub(super) async fn start(
        listen: SocketAddr,
        crds: Vec<CustomResourceDefinition>,
    ) -> Result<Self> {
        let started = ApiServer::start(listen, crds).await;
        started
            .map(Self)
            .context("starting the embedded API server")
    }

    pub(super) fn api(&self) -> &ApiServer {
        &self.0
    }

    pub(super) fn kubeconfig(&self) -> String {
        self.0.kubeconfig()
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        self.0.stop().await;
        Ok(())
    }

    pub(super) async fn resume(&mut self) -> Result<()> {
        self.0
            .resume()
            .await
            .context("resuming the embedded API server")
    }
}
