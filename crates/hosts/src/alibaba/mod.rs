//! Alibaba Cloud Assistant: the cloud's own agent on the machine, when there is neither ours nor SSH. It runs constant
//! scripts by `RunCommand` (ECS API 2014-05-26), with what varies as data on their standard input.

mod client;
mod sign;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use host::{Order, Probe, Reading, Unit};
use tokio::sync::mpsc;

pub use client::{Credentials, Ecs, InstanceId};

use crate::error::HostError;
use crate::script::{self, Script};
use crate::way::{Acted, Piece, Pieces};

/// The way to one machine.
#[derive(Clone, Debug)]
pub struct CloudAssistant {
    ecs: Ecs,
    instance: InstanceId,
}

impl CloudAssistant {
    /// To this instance.
    pub fn new(ecs: Ecs, instance: InstanceId) -> Self {
        Self { ecs, instance }
    }

    fn host(&self) -> String {
        self.instance.to_string()
    }

    /// Runs a script; what it printed. The assistant keeps 24 KiB of output, so it comes packed.
    async fn run(&self, script: &Script, token: Option<&str>) -> Result<Vec<u8>, HostError> {
        let content = host::script::inline(script.text, &script.input);
        let content = format!("{{\n{content}\n}} 2>&1 | gzip -c | base64 -w0\n");
        let packed = self
            .ecs
            .run_command(&self.instance, &content, script.deadline, token)
            .await?;
        unpack(&packed).map_err(|detail| HostError::Nonsense {
            host: self.host(),
            detail,
        })
    }

    pub(crate) async fn look(&self, probes: &[Probe]) -> Result<Vec<Reading>, HostError> {
        let printed = self.run(&script::look(probes), None).await?;
        script::readings(&self.host(), &printed)
    }

    pub(crate) async fn act(&self, order: &Order) -> Result<Acted, HostError> {
        // The cloud runs a command with this token once, whatever is lost on the way.
        let token = format!("refloat-{}-{}", order.boot, order.generation);
        let printed = self.run(&script::act(order), Some(&token)).await?;
        script::acted(&self.host(), &printed)
    }

    pub(crate) async fn log(&self, unit: Unit, since: Duration) -> Result<Pieces, HostError> {
        let printed = self.run(&script::log(unit, since, false), None).await?;
        Ok(one_piece(script::log_name(unit), printed))
    }

    pub(crate) async fn evidence(&self, since: Duration) -> Result<Pieces, HostError> {
        let printed = self.run(&script::evidence(since), None).await?;
        script::files(&self.host(), &printed)
    }
}

fn one_piece(file: String, bytes: Vec<u8>) -> Pieces {
    let (sender, pieces) = mpsc::channel(1);
    // The channel is new and has room for one.
    let _ = sender.try_send(Ok(Piece { file, bytes }));
    pieces
}

/// The most that is unpacked, so that a small answer cannot become a large one.
const UNPACKED: u64 = 64 << 20;

fn unpack(packed: &str) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let bytes = BASE64_STANDARD
        .decode(packed.trim())
        .map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice())
        .take(UNPACKED)
        .read_to_end(&mut out)
        .map_err(|error| error.to_string())?;
    Ok(out)
}
