//! Compares placements with what the scheduler's own code answered for the same snapshot.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::drain::{Landing, drain};
use crate::world::World;

/// How placements compare with the scheduler's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Placements compared.
    pub placements: usize,
    /// Of these, with the same nodes that take the pod, by number and hash.
    pub feasible: usize,
    /// With the same best nodes, top score and score of every plugin.
    pub scores: usize,
    /// With the same node chosen.
    pub nodes: usize,
    /// With the same reasons, where no node takes the pod.
    pub reasons: usize,
    /// The first that differ, in words.
    pub differences: Vec<String>,
}

/// An answer of the scheduler's code: one line of a file of answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    drain: String,
    pod: String,
    node: Option<String>,
    feasible: usize,
    feas_hash: Option<String>,
    ties: Vec<String>,
    top: i64,
    scores: BTreeMap<String, i64>,
    why: BTreeMap<String, usize>,
}

impl Agreement {
    /// Whether all is equal.
    pub fn is_complete(&self) -> bool {
        let all = [self.feasible, self.scores, self.nodes, self.reasons];
        self.placements > 0 && all.iter().all(|equal| *equal == self.placements)
    }

    fn count(&mut self, answer: &Answer, landing: Option<&Landing>) {
        self.placements += 1;
        let Some(landing) = landing else {
            self.differ(format!(
                "{} {}: not placed at all",
                answer.drain, answer.pod
            ));
            return;
        };
        let hash = (landing.feasible > 0).then(|| hash(&landing.nodes));
        let scores = |scores: &BTreeMap<&'static str, i64>| {
            scores
                .iter()
                .map(|(name, score)| ((*name).to_owned(), *score))
                .collect::<BTreeMap<_, _>>()
        };
        let reason = |(reason, nodes): (&crate::Reason, &usize)| {
            (
                format!("{}: {}", reason.plugin(), reason.message_with_taint()),
                *nodes,
            )
        };
        let why: BTreeMap<_, _> = landing.why.iter().map(reason).collect();
        // Answers name at most the first 16 of the best.
        let ties = &landing.ties[..landing.ties.len().min(answer.ties.len().max(16))];
        let equal = [
            (landing.feasible, &hash) == (answer.feasible, &answer.feas_hash),
            (ties, landing.top, scores(&landing.scores))
                == (&answer.ties, answer.top, answer.scores.clone()),
            landing.ties.first() == answer.node.as_ref(),
            why == answer.why,
        ];
        let counts = [
            &mut self.feasible,
            &mut self.scores,
            &mut self.nodes,
            &mut self.reasons,
        ];
        for (count, equal) in counts.into_iter().zip(equal) {
            *count += usize::from(equal);
        }
        if equal.contains(&false) {
            let ours = (landing.feasible, ties, landing.top, &landing.scores, &why);
            self.differ(format!(
                "{} {}: {ours:?}, the scheduler {answer:?}",
                answer.drain, answer.pod
            ));
        }
    }

    fn differ(&mut self, difference: String) {
        if self.differences.len() < 5 {
            self.differences.push(difference);
        }
    }
}

/// Drains every node the answers name, and compares pod by pod.
pub fn compare(world: &World, answers: &str) -> Result<Agreement, serde_json::Error> {
    let mut agreement = Agreement::default();
    let mut drained: (String, BTreeMap<String, Landing>) = Default::default();
    for line in answers.lines().filter(|line| !line.trim().is_empty()) {
        let answer: Answer = serde_json::from_str(line)?;
        if drained.0 != answer.drain {
            let node = world.node_index(&answer.drain);
            let pods = node.map(|node| drain(world, node).pods).unwrap_or_default();
            let by_name = pods
                .into_iter()
                .map(|landing| (format!("{}-r", landing.pod), landing));
            drained = (answer.drain.clone(), by_name.collect());
        }
        agreement.count(&answer, drained.1.get(&answer.pod));
    }
    Ok(agreement)
}

/// FNV-1a, 64 bits, over the names, each followed by a zero byte.
fn hash(names: &[String]) -> String {
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
