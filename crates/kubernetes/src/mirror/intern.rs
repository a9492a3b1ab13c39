use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use model::{Labels, PodVolume, Text, Toleration};

/// Fewest entries before a pool looks for dead ones.
const SMALLEST_SWEEP: usize = 1024;

/// A shared value that knows whether only the pool still holds it.
trait Shared: Clone + Hash + Eq {
    fn is_unshared(&self) -> bool;
}

impl<T: ?Sized + Hash + Eq> Shared for Arc<T> {
    fn is_unshared(&self) -> bool {
        Arc::strong_count(self) == 1
    }
}

impl Shared for Labels {
    fn is_unshared(&self) -> bool {
        Labels::is_unshared(self)
    }
}

/// Equal values are kept once. Values nobody uses any more are dropped whenever the pool has doubled since it last
/// looked, so it holds at most twice what is alive.
struct Pool<S> {
    values: HashSet<S>,
    sweep_at: usize,
}

impl<S> Default for Pool<S> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            sweep_at: SMALLEST_SWEEP,
        }
    }
}

impl<S: Shared> Pool<S> {
    fn get<Q: ?Sized + Hash + Eq>(&mut self, value: &Q, make: impl FnOnce() -> S) -> S
    where
        S: Borrow<Q>,
    {
        if let Some(known) = self.values.get(value) {
            return known.clone();
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| !value.is_unshared());
            self.sweep_at = SMALLEST_SWEEP.max(self.values.len() * 2);
            self.values.shrink_to(self.sweep_at);
        }
        let new = make();
        self.values.insert(new.clone());
        new
    }
}

/// Keeps one copy of what many objects have in common: namespaces, node names, label sets, tolerations, volumes.
/// One for each watched stream, so that streams need no lock.
#[derive(Default)]
pub(crate) struct Interner {
    texts: Pool<Text>,
    labels: Pool<Labels>,
    text_lists: Pool<Arc<[Text]>>,
    tolerations: Pool<Arc<[Toleration]>>,
    volumes: Pool<Arc<[PodVolume]>>,
}

impl Interner {
    pub(crate) fn text(&mut self, text: &str) -> Text {
        self.texts.get(text, || text.into())
    }

    pub(crate) fn labels<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Labels {
        let labels = Labels::from_pairs(
            pairs
                .into_iter()
                .map(|(key, value)| (self.text(key), self.text(value))),
        );
        self.labels.get(&labels, || labels.clone())
    }

    pub(crate) fn texts<T: AsRef<str>>(
        &mut self,
        texts: impl IntoIterator<Item = T>,
    ) -> Arc<[Text]> {
        let list: Vec<Text> = texts
            .into_iter()
            .map(|text| self.text(text.as_ref()))
            .collect();
        self.text_lists.get(&list[..], || list.as_slice().into())
    }

    pub(crate) fn tolerations(&mut self, tolerations: &[Toleration]) -> Arc<[Toleration]> {
        self.tolerations.get(tolerations, || tolerations.into())
    }

    pub(crate) fn volumes(&mut self, volumes: &[PodVolume]) -> Arc<[PodVolume]> {
        self.volumes.get(volumes, || volumes.into())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.texts.values.len() + self.labels.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_dead_ones_are_let_go() {
        let mut interner = Interner::default();
        let kept = interner.text("web");
        assert!(Arc::ptr_eq(&kept, &interner.text("web")));
        for number in 0..20 * SMALLEST_SWEEP {
            interner.labels([(&"pod".to_string(), &format!("web-{number}"))]);
        }
        assert!(interner.len() <= 4 * SMALLEST_SWEEP, "{}", interner.len());
        assert!(Arc::ptr_eq(&kept, &interner.text("web")));
    }
}
