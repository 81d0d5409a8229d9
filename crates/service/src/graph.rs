//! The dependency graph: cycles, start order, stop order.
//!
//! An edge stands for `requires` and `after` between known names; `wants` and `conflicts` order nothing. All walks keep
//! their own stack, so that a chain of any length is no deeper than one call.

use std::collections::HashMap;

use crate::Service;

/// Who waits for whom, by index into the services it was built from.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
}

impl Graph {
    /// Builds the graph of `services`; of two with one name the first counts.
    pub fn new<'s>(services: impl IntoIterator<Item = &'s Service>) -> Self {
        let services: Vec<&Service> = services.into_iter().collect();
        let mut index = HashMap::new();
        for (id, service) in services.iter().enumerate() {
            index.entry(service.name.as_str()).or_insert(id);
        }
        let mut graph = Self {
            needs: Vec::new(),
            dependents: vec![Vec::new(); services.len()],
        };
        for (id, service) in services.iter().enumerate() {
            let dependencies = service.dependencies.requires.iter().chain(&service.dependencies.after);
            let mut needs: Vec<usize> = dependencies
                .filter_map(|one| index.get(one.name.as_str()).copied())
                .collect();
            needs.sort_unstable();
            needs.dedup();
            needs.iter().for_each(|&need| graph.dependents[need].push(id));
            graph.needs.push(needs);
        }
        graph
    }

    /// What `id` waits for, in order of index.
    pub fn needs(&self, id: usize) -> &[usize] {
        self.needs.get(id).map_or(&[], Vec::as_slice)
    }

    /// What waits for `id`, in order of index.
    pub fn dependents(&self, id: usize) -> &[usize] {
        self.dependents.get(id).map_or(&[], Vec::as_slice)
    }

    /// Every knot of services that wait for each other, each as one walk around (`a` needs `b` needs … needs `a`)
    /// followed by whatever else is tangled up in it.
    pub fn cycles(&self) -> Vec<Vec<usize>> {
        let knots = self.knots().into_iter();
        let mut cycles: Vec<Vec<usize>> = knots.map(|knot| self.walk_around(knot)).collect();
        cycles.sort();
        cycles
    }

    /// An order in which everything comes after what it needs, the lowest index first where there is a choice. Members
    /// of cycles, and what needs them, are left out.
    pub fn start_order(&self) -> Vec<usize> {
        let mut missing: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let free = (0..self.needs.len())
            .filter(|&id| missing[id] == 0)
            .map(std::cmp::Reverse);
        let mut ready: std::collections::BinaryHeap<_> = free.collect();
        let mut order = Vec::with_capacity(self.needs.len());
        while let Some(std::cmp::Reverse(id)) = ready.pop() {
            order.push(id);
            for &dependent in &self.dependents[id] {
                missing[dependent] -= 1;
                if missing[dependent] == 0 {
                    ready.push(std::cmp::Reverse(dependent));
                }
            }
        }
        order
    }

    /// The start order, backwards.
    pub fn stop_order(&self) -> Vec<usize> {
        let mut order = self.start_order();
        order.reverse();
        order
    }

    /// Strongly connected components that hold a cycle (Tarjan 1972).
    fn knots(&self) -> Vec<Vec<usize>> {
        let mut search = Search::new(self.needs.len());
        for root in 0..self.needs.len() {
            search.explore(root, &self.needs);
        }
        let knotted = |knot: &Vec<usize>| knot.len() > 1 || self.needs[knot[0]].contains(&knot[0]);
        search.components.into_iter().filter(knotted).collect()
    }

    /// A shortest walk from the knot's first member back to it, then the knot's other members.
    fn walk_around(&self, mut knot: Vec<usize>) -> Vec<usize> {
        knot.sort_unstable();
        let start = knot[0];
        let mut came_from: HashMap<usize, usize> = HashMap::new();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(id) = queue.pop_front() {
            if self.needs[id].contains(&start) {
                let mut walk = vec![id];
                while let Some(&before) = walk
                    .last()
                    .filter(|last| **last != start)
                    .and_then(|last| came_from.get(last))
                {
                    walk.push(before);
                }
                walk.reverse();
                knot.retain(|member| !walk.contains(member));
                walk.append(&mut knot);
                return walk;
            }
            for &need in self.needs[id].iter().filter(|need| knot.binary_search(need).is_ok()) {
                if need != start && !came_from.contains_key(&need) {
                    came_from.insert(need, id);
                    queue.push_back(need);
                }
            }
        }
        knot
    }
}

/// The state of Tarjan's search. `order` 0 means not yet seen.
struct Search {
    order: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    seen: usize,
    components: Vec<Vec<usize>>,
}

impl Search {
    fn new(count: usize) -> Self {
        Self {
            order: vec![0; count],
            low: vec![0; count],
            on_stack: vec![false; count],
            stack: Vec::new(),
            seen: 0,
            components: Vec::new(),
        }
    }

    fn explore(&mut self, root: usize, edges: &[Vec<usize>]) {
        if self.order[root] != 0 {
            return;
        }
        self.enter(root);
        let mut path = vec![(root, 0)];
        while let Some((id, next)) = path.last_mut() {
            let (id, edge) = (*id, *next);
            *next += 1;
            match edges[id].get(edge) {
                Some(&other) if self.order[other] == 0 => {
                    self.enter(other);
                    path.push((other, 0));
                }
                Some(&other) if self.on_stack[other] => self.low[id] = self.low[id].min(self.order[other]),
                Some(_) => {}
                None => {
                    path.pop();
                    self.leave(id, path.last().map(|(parent, _)| *parent));
                }
            }
        }
    }

    fn enter(&mut self, id: usize) {
        self.seen += 1;
        (self.order[id], self.low[id]) = (self.seen, self.seen);
        self.stack.push(id);
        self.on_stack[id] = true;
    }

    fn leave(&mut self, id: usize, parent: Option<usize>) {
        if let Some(parent) = parent {
            self.low[parent] = self.low[parent].min(self.low[id]);
        }
        if self.low[id] != self.order[id] {
            return;
        }
        let mut component = Vec::new();
        while let Some(member) = self.stack.pop() {
            self.on_stack[member] = false;
            component.push(member);
            if member == id {
                break;
            }
        }
        self.components.push(component);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A graph from `a` needs `b` pairs.
    fn graph(count: usize, edges: &[(usize, usize)]) -> Graph {
        let mut graph = Graph {
            needs: vec![Vec::new(); count],
            dependents: vec![Vec::new(); count],
        };
        for &(from, to) in edges {
            if !graph.needs[from].contains(&to) {
                graph.needs[from].push(to);
                graph.dependents[to].push(from);
            }
        }
        graph
    }

    #[test]
    fn order_follows_needs() {
        let graph = graph(4, &[(0, 2), (1, 0), (1, 3)]);
        assert_eq!(graph.start_order(), [2, 0, 3, 1]);
        assert_eq!(graph.stop_order(), [1, 3, 0, 2]);
        assert!(graph.cycles().is_empty());
    }

    #[test]
    fn cycles_are_walks_and_leave_the_innocent_alone() {
        // 0 -> 1 -> 2 -> 0 is a cycle, 3 needs it, 4 needs itself, 5 is innocent.
        let graph = graph(6, &[(0, 1), (1, 2), (2, 0), (3, 0), (4, 4)]);
        assert_eq!(graph.cycles(), [vec![0, 1, 2], vec![4]]);
        assert_eq!(graph.start_order(), [5]);
    }

    #[test]
    fn a_tangle_names_a_shortest_walk_first() {
        let graph = graph(4, &[(0, 1), (1, 2), (2, 3), (3, 0), (1, 0)]);
        assert_eq!(graph.cycles(), [vec![0, 1, 2, 3]]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let edges: Vec<(usize, usize)> = (1..100_000).map(|id| (id, id - 1)).collect();
        let graph = graph(100_000, &edges);
        assert!(graph.cycles().is_empty());
        assert_eq!(graph.start_order().len(), 100_000);
    }

    proptest! {
        #[test]
        fn start_order_and_cycles_agree(edges in proptest::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
            let graph = graph(12, &edges);
            let order = graph.start_order();
            let place = |id: usize| order.iter().position(|one| *one == id);
            for &(from, to) in &edges {
                if let Some(after) = place(from) {
                    prop_assert!(place(to).is_some_and(|before| before < after));
                }
            }
            let knotted: Vec<usize> = graph.cycles().concat();
            // The model: who can be reached from itself, by walking every edge as often as there are services.
            let mut reach = [[false; 12]; 12];
            edges.iter().for_each(|&(from, to)| reach[from][to] = true);
            for middle in 0..12 {
                for from in 0..12 {
                    for to in 0..12 {
                        reach[from][to] |= reach[from][middle] && reach[middle][to];
                    }
                }
            }
            let mut sorted = knotted.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..12).filter(|id| reach[*id][*id]).collect::<Vec<_>>());
            for cycle in graph.cycles() {
                prop_assert!(cycle.iter().all(|id| reach[cycle[0]][*id] && reach[*id][cycle[0]]));
            }
            prop_assert!(order.iter().all(|id| !knotted.contains(id)));
            prop_assert_eq!(order.len() == 12, knotted.is_empty());
        }
    }
}
