//! `refloat version`.

use serde_json::json;

use crate::exit::Exit;
use crate::talk::Talk;

pub(crate) fn run(talk: &Talk) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    if talk.is_json() {
        talk.json_document(&json!({ "version": version, "record_format": service::RECORD_FORMAT }));
    } else {
        talk.out(&format!("refloat {version}"));
    }
    Exit::Done
}
