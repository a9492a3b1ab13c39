//! What a what-if changes: nodes that are cordoned, pods that go and come.

use std::collections::BTreeMap;

use model::Text;

use crate::facts::{Pod, Standing};
use crate::load::Load;
use crate::reason::Rule;
use crate::volumes;
use crate::world::World;

/// A cluster of which some pods are elsewhere than in the snapshot.
#[derive(Clone, Debug)]
pub(crate) struct State<'w> {
    pub(crate) world: &'w World,
    touched: BTreeMap<u32, Load>,
    /// By counter: how many more or fewer at a place.
    moved: BTreeMap<u32, Vec<(u32, i64)>>,
    users: BTreeMap<(Text, Text), i64>,
    /// Volumes that placed pods took.
    pub(crate) taken: Vec<Text>,
    /// Rules that are set aside.
    pub(crate) aside: Vec<Rule>,
}

impl<'w> State<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            touched: BTreeMap::new(),
            moved: BTreeMap::new(),
            users: BTreeMap::new(),
            taken: Vec::new(),
            aside: Vec::new(),
        }
    }

    pub(crate) fn load(&self, place: u32) -> &Load {
        self.touched
            .get(&place)
            .unwrap_or(&self.world.loads[place as usize])
    }

    pub(crate) fn touch(&mut self, place: u32) -> &mut Load {
        let world = self.world;
        self.touched
            .entry(place)
            .or_insert_with(|| world.loads[place as usize].clone())
    }

    pub(crate) fn touched(&self) -> impl Iterator<Item = (u32, &Load)> {
        self.touched.iter().map(|(place, load)| (*place, load))
    }

    pub(crate) fn cordon(&mut self, place: u32) {
        self.touch(place).cordoned = true;
    }

    /// Takes a pod off its node.
    pub(crate) fn remove(&mut self, pod: &Pod) {
        let place = self.world.topology.place[pod.node as usize];
        self.shift(pod, pod.usage, place, -1);
    }

    /// Puts a pod back that was taken off its node.
    pub(crate) fn put_back(&mut self, pod: &Pod) {
        let place = self.world.topology.place[pod.node as usize];
        self.shift(pod, pod.usage, place, 1);
    }

    /// Puts a pod where it was placed.
    pub(crate) fn put(&mut self, pod: &Pod, place: u32) {
        let shape = self.world.template(pod).shape;
        self.shift(pod, shape, place, 1);
    }

    fn shift(&mut self, pod: &Pod, shape: u32, place: u32, times: i64) {
        let world = self.world;
        let template = world.template(pod);
        let handles = volumes::handles(&world.cluster, template, pod);
        let shape = world.cluster.shapes.get(shape);
        self.touch(place).take(shape, template, handles, times);
        let counters = &world.counters.plans[pod.template as usize].counts_in;
        for counter in counters.iter().filter(|_| pod.standing != Standing::Leaves) {
            self.moved.entry(*counter).or_default().push((place, times));
        }
        for claim in volumes::named(pod) {
            let key = (template.namespace.clone(), claim.clone());
            *self.users.entry(key).or_insert(0) += times;
        }
    }

    /// Pods that a counter counts, by place; a place may come more than once.
    pub(crate) fn counts(&self, counter: u32) -> impl Iterator<Item = (u32, i64)> {
        let base = self.world.counters.base[counter as usize].iter();
        base.chain(self.moved.get(&counter).into_iter().flatten())
            .copied()
    }

    /// How many pods use a claim.
    pub(crate) fn users(&self, claim: &(Text, Text)) -> i64 {
        let count = |of: &BTreeMap<(Text, Text), i64>| of.get(claim).copied().unwrap_or(0);
        count(&self.world.claim_users) + count(&self.users)
    }
}
