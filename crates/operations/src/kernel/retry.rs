//! When a refused write is tried again.

use model::{Fate, Refusal, Time};

use super::after;

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// At this time (which may have passed).
    At(Time),
    /// Never: only a person can change the answer.
    Final,
}

/// When a write that was refused `times` times in a row, last at `at`, may be tried again. Waits double; no jitter is
/// needed, since budgets and versions, not clocks, are what normally lets a write go.
pub fn gate(refusal: &Refusal, at: Time, times: u32) -> Gate {
    let doubling = |first: u64, most: u64| {
        let factor = 1u64
            .checked_shl(times.saturating_sub(1))
            .unwrap_or(u64::MAX);
        Gate::At(after(at, first.saturating_mul(factor).min(most)))
    };
    match refusal {
        Refusal::Budget { .. } => doubling(200, 5_000),
        Refusal::BudgetLags {
            retry_after_seconds,
            ..
        } => doubling(200, u64::from(*retry_after_seconds).max(1) * 1_000),
        Refusal::Changed { .. } => doubling(50, 1_000),
        Refusal::Unavailable { .. } => doubling(100, 5_000),
        Refusal::Host {
            fate: Fate::Unknown,
            ..
        } => doubling(500, 5_000),
        Refusal::NamespaceTerminating => doubling(1_000, 10_000),
        Refusal::Denied { .. } => doubling(1_000, 30_000),
        Refusal::TwoBudgets { .. } => doubling(2_000, 60_000),
        Refusal::Claimed { .. } => doubling(1_000, 2_000),
        Refusal::Gone => doubling(500, 5_000),
        Refusal::Forbidden { .. }
        | Refusal::Unauthorized { .. }
        | Refusal::Rejected { .. }
        | Refusal::Host { .. } => Gate::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_some_answers_are_final() {
        let check = |refusal: Refusal, times, expected_ms: Option<u64>| {
            let expected =
                expected_ms.map_or(Gate::Final, |ms| Gate::At(after(Time::UNIX_EPOCH, ms)));
            assert_eq!(
                gate(&refusal, Time::UNIX_EPOCH, times),
                expected,
                "{refusal:?} x{times}"
            );
        };
        let unavailable = || Refusal::Unavailable {
            message: "EOF".into(),
        };
        check(unavailable(), 1, Some(100));
        check(unavailable(), 2, Some(200));
        check(unavailable(), 200, Some(5_000));
        check(
            Refusal::Denied {
                by: "pub".into(),
                message: "no".into(),
            },
            1,
            Some(1_000),
        );
        check(
            Refusal::BudgetLags {
                retry_after_seconds: 10,
                message: "busy".into(),
            },
            9,
            Some(10_000),
        );
        check(
            Refusal::Forbidden {
                message: "no".into(),
            },
            1,
            None,
        );
    }
}
