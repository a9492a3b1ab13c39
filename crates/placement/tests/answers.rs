//! Placements are those of the scheduler's own code, for snapshots of which its answers are on file.

use std::io::Read;

use placement::{Profile, Reader, World, compare};

macro_rules! data {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("data/", $name, ".jsonl.gz")),
            include_bytes!(concat!("data/", $name, ".expect.jsonl.gz")),
        )
    };
}

/// Name, snapshot and answers.
const DATA: &[(&str, &[u8], &[u8])] = &[
    data!("case-pack"),
    data!("case-spread-host-cordon"),
    data!("case-spread-host-cordon-honor"),
    data!("case-spread-zone-last-node"),
    data!("synth100-seed1"),
    data!("synth60-seed2"),
    data!("synth60-seed3"),
];

fn text(packed: &[u8]) -> std::io::Result<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn as_the_scheduler_of_1_34_answered() {
    for (name, snapshot, answers) in DATA {
        let mut reader = Reader::default();
        reader.text(&text(snapshot).unwrap()).unwrap();
        let world = World::new(reader.finish().unwrap(), Profile::of_minor(34));
        let agreement = compare(&world, &text(answers).unwrap()).unwrap();
        assert!(agreement.is_complete(), "{name}: {agreement:#?}");
    }
}

/// With the scores of another version some answers must differ, else the comparison shows nothing.
#[test]
fn versions_score_differently() {
    let (name, snapshot, answers) = DATA[4];
    let mut reader = Reader::default();
    reader.text(&text(snapshot).unwrap()).unwrap();
    let world = World::new(reader.finish().unwrap(), Profile::of_minor(36));
    let agreement = compare(&world, &text(answers).unwrap()).unwrap();
    assert!(!agreement.is_complete(), "{name}");
}
