//! The most that can flow through a network (Dinic's algorithm).

use std::collections::VecDeque;

/// A network of nodes and edges with whole capacities.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Edges out of each node, as places in `edges`.
    out: Vec<Vec<usize>>,
    /// Where each edge goes and what it still takes; its reverse stands beside it.
    edges: Vec<(usize, u64)>,
}

impl Network {
    pub(super) fn node(&mut self) -> usize {
        self.out.push(Vec::new());
        self.out.len() - 1
    }

    pub(super) fn edge(&mut self, from: usize, to: usize, most: u64) {
        self.out[from].push(self.edges.len());
        self.edges.push((to, most));
        self.out[to].push(self.edges.len());
        self.edges.push((from, 0));
    }

    pub(super) fn most(&mut self, source: usize, sink: usize) -> u64 {
        let mut total = 0;
        while let Some(levels) = self.levels(source, sink) {
            let mut next = vec![0; self.out.len()];
            loop {
                let pushed = self.push((source, sink), u64::MAX, &levels, &mut next);
                if pushed == 0 {
                    break;
                }
                total += pushed;
            }
        }
        total
    }

    fn levels(&self, source: usize, sink: usize) -> Option<Vec<usize>> {
        let mut levels = vec![usize::MAX; self.out.len()];
        levels[source] = 0;
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for &edge in &self.out[node] {
                let (to, room) = self.edges[edge];
                if room > 0 && levels[to] == usize::MAX {
                    levels[to] = levels[node] + 1;
                    queue.push_back(to);
                }
            }
        }
        (levels[sink] < usize::MAX).then_some(levels)
    }

    fn push(
        &mut self,
        (node, sink): (usize, usize),
        most: u64,
        levels: &[usize],
        next: &mut [usize],
    ) -> u64 {
        if node == sink {
            return most;
        }
        while let Some(&edge) = self.out[node].get(next[node]) {
            let (to, room) = self.edges[edge];
            if room > 0 && levels[to] == levels[node] + 1 {
                let pushed = self.push((to, sink), most.min(room), levels, next);
                if pushed > 0 {
                    self.edges[edge].1 -= pushed;
                    self.edges[edge ^ 1].1 += pushed;
                    return pushed;
                }
            }
            next[node] += 1;
        }
        0
    }
}
