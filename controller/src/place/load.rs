//! How many groups each node answers for, and how many more it would after the death of another one.

use std::collections::HashMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub struct Load {
    by_node: HashMap<Arc<str>, Share>,
}

/// The part of one node.
#[derive(Debug, Default)]
struct Share {
    /// Groups that it answers for.
    answering: u32,
    /// Groups that it is the first stand-by of.
    first: u32,
    /// Groups that it is the second stand-by of.
    second: u32,
    /// The first stand-bys of those that it answers for, and of how many each.
    heirs: HashMap<Arc<str>, u32>,
}

impl Load {
    /// Counts a placement in.
    pub fn add(&mut self, nodes: &[Arc<str>]) {
        self.count(nodes, |count| *count += 1);
    }

    /// Counts a placement out.
    pub fn remove(&mut self, nodes: &[Arc<str>]) {
        self.count(nodes, |count| *count = count.saturating_sub(1));
        for node in nodes {
            if self.by_node.get(node).is_some_and(Share::is_nothing) {
                self.by_node.remove(node);
            }
        }
    }

    fn count(&mut self, nodes: &[Arc<str>], mut change: impl FnMut(&mut u32)) {
        let mut nodes = nodes.iter();
        let Some(holder) = nodes.next() else { return };
        change(&mut self.share(holder).answering);
        let Some(heir) = nodes.next() else { return };
        change(&mut self.share(heir).first);
        let heirs = &mut self.share(holder).heirs;
        let count = heirs.entry(Arc::clone(heir)).or_default();
        change(count);
        if *count == 0 {
            heirs.remove(heir);
        }
        if let Some(last) = nodes.next() {
            change(&mut self.share(last).second);
        }
    }

    fn share(&mut self, node: &Arc<str>) -> &mut Share {
        self.by_node.entry(Arc::clone(node)).or_default()
    }

    /// Groups that the node answers for.
    #[must_use]
    pub fn answering(&self, node: &str) -> u32 {
        self.by_node.get(node).map_or(0, |share| share.answering)
    }

    /// Groups that `heir` would answer for after the death of `holder`.
    #[must_use]
    pub fn after(&self, holder: &str, heir: &str) -> u32 {
        let heirs = self.by_node.get(holder).map(|share| &share.heirs);
        let inherited = heirs.and_then(|heirs| heirs.get(heir));
        self.answering(heir) + inherited.copied().unwrap_or_default()
    }

    /// Groups that the node is the first stand-by of.
    #[must_use]
    pub fn first(&self, node: &str) -> u32 {
        self.by_node.get(node).map_or(0, |share| share.first)
    }

    /// Groups that the node is the second stand-by of.
    #[must_use]
    pub fn second(&self, node: &str) -> u32 {
        self.by_node.get(node).map_or(0, |share| share.second)
    }
}

impl Share {
    fn is_nothing(&self) -> bool {
        self.answering == 0 && self.first == 0 && self.second == 0
    }
}
