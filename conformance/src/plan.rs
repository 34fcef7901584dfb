//! Which cases run in which configurations, and what is left out for which reason. Pure: no process, no clock.
//!
//! Nothing is left out silently: every case of the selection runs, or stands under what the target does not claim, or
//! under a reason of its own, or counts as not applicable in a configuration.

use std::collections::{BTreeMap, BTreeSet};

use duplex_vectors::{Class, Codec, Corpus, Framing, MessageVector, Profile, Role, Session, Transport};

use crate::event::{Configuration, Description, Event, Excluded, LeftOut, NotClaimed, PlannedCase, PlannedConfiguration};
use crate::select::{Selection, admits};

use needs::Needs;

mod needs;

/// What is going to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which they run.
    pub configurations: Vec<ConfigurationPlan>,
    /// What the target does not claim.
    pub not_claimed: Vec<NotClaimed>,
}

/// The cases of one configuration.
#[derive(Clone, Debug)]
pub struct ConfigurationPlan {
    /// The configuration.
    pub configuration: Configuration,
    /// The cases, prerequisites before what builds on them.
    pub cases: Vec<Case>,
    /// How many selected cases cannot apply in it.
    pub not_applicable: usize,
}

/// One case.
#[derive(Clone, Debug)]
pub enum Case {
    /// A session vector.
    Session(&'static Session),
    /// A message vector, run by the template session of its class.
    Message(&'static MessageVector),
}

impl Case {
    /// The case's id: a session's own, or `message:<id>`.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Session(session) => session.id.clone(),
            Self::Message(vector) => format!("message:{}", vector.id),
        }
    }

    /// What it shows.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Session(session) => &session.title,
            Self::Message(vector) => &vector.title,
        }
    }

    /// The rules that it decides, the principal one first.
    #[must_use]
    pub fn rules(&self) -> &[String] {
        match self {
            Self::Session(session) => &session.rules,
            Self::Message(vector) => &vector.rules,
        }
    }

    /// The profile that it counts for.
    #[must_use]
    pub fn profile(&self) -> Profile {
        match self {
            Self::Session(session) => session.profile,
            Self::Message(vector) if vector.class == Some(Class::BadReply) => Profile::Caller,
            Self::Message(_) => Profile::Core,
        }
    }

    fn excluded(&self, why: String, is_claim: bool) -> Excluded {
        Excluded { case: self.id(), rules: self.rules().to_vec(), why, is_claim }
    }

    fn needs(&self) -> Needs {
        match self {
            Self::Session(session) => Needs::of(session),
            Self::Message(_) => Needs { profiles: [self.profile()].into(), ..Needs::default() },
        }
    }

    fn applies_in(&self, configuration: Configuration) -> bool {
        let Configuration { transport, role, framing, codec } = configuration;
        match self {
            Self::Session(session) => {
                session.roles.contains(&role)
                    && session.transports.contains(&transport)
                    && session.applicable_codecs().contains(&codec)
                    && session.applicable_framings(codec).contains(&framing)
            }
            // A hexadecimal slip is the vectors' lint's to find; the runner says so if one gets here.
            Self::Message(vector) => vector.frames(codec).map_or(true, |frames| {
                let is_line = |frame: &Vec<u8>| framing != Framing::Newline || !frame.contains(&b'\n');
                !frames.is_empty() && frames.iter().all(is_line)
            }),
        }
    }
}

/// A plan with all that reports say of it.
#[derive(Clone, Debug)]
pub struct Planning {
    /// What runs.
    pub plan: Plan,
    /// Every case that runs anywhere, once, in the order of the suite.
    pub cases: Vec<PlannedCase>,
    /// Cases of the selection that run nowhere although their profile is claimed, by reason.
    pub left_out: Vec<LeftOut>,
    /// The cases of the selection that run nowhere.
    pub excluded: Vec<Excluded>,
    /// How many cases the selection has, whatever the target claims.
    pub selected: usize,
}

impl Planning {
    /// The event that announces it.
    #[must_use]
    pub fn event(&self) -> Event {
        let configurations = self.plan.configurations.iter().map(|one| PlannedConfiguration {
            configuration: one.configuration,
            cases: one.cases.len(),
            not_applicable: one.not_applicable,
        });
        Event::Planned {
            configurations: configurations.collect(),
            not_claimed: self.plan.not_claimed.clone(),
            cases: self.cases.clone(),
            left_out: self.left_out.clone(),
            excluded: self.excluded.clone(),
            selected: self.selected,
        }
    }

    /// How many times a case runs in all.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.plan.configurations.iter().map(|one| one.cases.len()).sum()
    }
}

/// Every case of the suite: sessions, then the messages that a session can carry.
#[must_use]
pub fn suite(corpus: &'static Corpus) -> Vec<Case> {
    let messages = corpus.messages().iter().filter(|vector| vector.is_carried()).map(Case::Message);
    corpus.sessions().iter().map(Case::Session).chain(messages).collect()
}

/// Decides what runs. The target is taken at its word; `--list` without a target gives one that claims everything.
#[must_use]
pub fn plan(corpus: &'static Corpus, description: &Description, selection: &Selection) -> Planning {
    let mut not_claimed = Vec::new();
    let configurations = configurations(description, selection, &mut not_claimed);
    let mut left_out = Vec::new();

    let carried_by_files = corpus.messages().iter().filter(|vector| !vector.is_carried());
    let carried_by_files =
        carried_by_files.filter(|vector| selection.has_case(&Case::Message(vector).id(), &vector.rules)).count();
    let selected: Vec<Case> = suite(corpus)
        .into_iter()
        .filter(|case| selection.has_profile(case.profile()) && selection.has_case(&case.id(), case.rules()))
        .collect();
    let mut excluded = Vec::new();
    let claimed = claimed(&selected, description, &mut not_claimed, &mut left_out, &mut excluded);
    let ordered = ordered(claimed);

    let mut codecs = BTreeSet::new();
    let mut plans = Vec::new();
    for configuration in configurations {
        let is_first_of_codec = codecs.insert(configuration.codec);
        let candidates = ordered.iter().filter(|case| matches!(case, Case::Session(_)) || is_first_of_codec);
        let (cases, others): (Vec<Case>, Vec<Case>) = candidates.cloned().partition(|case| case.applies_in(configuration));
        plans.push(ConfigurationPlan { configuration, cases, not_applicable: others.len() });
    }

    let running: BTreeSet<String> = plans.iter().flat_map(|one| one.cases.iter().map(Case::id)).collect();
    let nowhere: Vec<&Case> = ordered.iter().filter(|case| !running.contains(&case.id())).collect();
    if !nowhere.is_empty() && !plans.is_empty() {
        let why = "they apply in none of these configurations".to_owned();
        excluded.extend(nowhere.iter().map(|case| case.excluded(why.clone(), false)));
        left_out.push(LeftOut { why, cases: nowhere.len() });
    }
    if carried_by_files > 0 && selection.profiles.is_empty() {
        let why = "message vectors for codecs alone: no session can carry them to a peer".to_owned();
        left_out.push(LeftOut { why, cases: carried_by_files });
    }
    let cases = ordered.iter().filter(|case| running.contains(&case.id())).map(|case| PlannedCase {
        case: case.id(),
        title: case.title().to_owned(),
        profile: case.profile(),
        rules: case.rules().to_vec(),
    });
    let cases = cases.collect();
    let plan = Plan { configurations: plans, not_claimed };
    Planning { cases, plan, left_out, excluded, selected: selected.len() }
}

/// What a target that claims everything would say of itself, for listing the whole suite. Its limits are only there.
#[must_use]
pub fn everything(corpus: &Corpus) -> Description {
    let limits = corpus.sessions().iter().flat_map(|session| Needs::of(session).limits);
    Description {
        contract: 1,
        name: "any target".to_owned(),
        version: None,
        language: None,
        homepage: None,
        issues: None,
        profiles: all_profiles().to_vec(),
        codecs: Codec::all(),
        framings: Framing::all(),
        transports: Transport::all(),
        roles: Role::all(),
        limits: limits.map(|name| (name, Some(1))).collect(),
        lacks: BTreeMap::new(),
    }
}

/// Every profile, in the order of a report.
#[must_use]
pub fn all_profiles() -> [Profile; 11] {
    [
        Profile::Core,
        Profile::Caller,
        Profile::Streaming,
        Profile::Callbacks,
        Profile::Middleware,
        Profile::Inspect,
        Profile::Tracing,
        Profile::Authentication,
        Profile::Policy,
        Profile::Deadline,
        Profile::Transactions,
    ]
}

/// A profile as it stands in vectors and in a target's description.
#[must_use]
pub fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Core => "core",
        Profile::Caller => "caller",
        Profile::Streaming => "streaming",
        Profile::Callbacks => "callbacks",
        Profile::Middleware => "middleware",
        Profile::Inspect => "inspect",
        Profile::Tracing => "tracing",
        Profile::Authentication => "authentication",
        Profile::Policy => "policy",
        Profile::Deadline => "deadline",
        Profile::Transactions => "transactions",
    }
}

/// Claimed and asked-for configurations, in the order of a run; MessagePack cannot stand in lines.
fn configurations(description: &Description, selection: &Selection, not_claimed: &mut Vec<NotClaimed>) -> Vec<Configuration> {
    let axis = |kind: &str, value: &str, is_claimed: bool, not_claimed: &mut Vec<NotClaimed>| {
        if !is_claimed {
            not_claimed.push(NotClaimed { what: format!("{kind} {value}"), reason: None, cases: 0 });
        }
        is_claimed
    };
    let mut transports = Transport::all();
    transports.retain(|&value| admits(&selection.transports, value));
    transports.retain(|&value| axis("transport", value.as_str(), description.transports.contains(&value), not_claimed));
    let mut roles = Role::all();
    roles.retain(|&value| admits(&selection.roles, value));
    roles.retain(|&value| axis("role", value.as_str(), description.roles.contains(&value), not_claimed));
    let mut framings = Framing::all();
    framings.retain(|&value| admits(&selection.framings, value));
    framings.retain(|&value| axis("framing", value.as_str(), description.framings.contains(&value), not_claimed));
    let mut codecs = Codec::all();
    codecs.retain(|&value| admits(&selection.codecs, value));
    codecs.retain(|&value| axis("codec", value.as_str(), description.codecs.contains(&value), not_claimed));

    let mut all = Vec::new();
    for &transport in &transports {
        for &role in &roles {
            for &framing in &framings {
                let carried = codecs.iter().filter(|&&codec| framing.carries(codec));
                all.extend(carried.map(|&codec| Configuration { transport, role, framing, codec }));
            }
        }
    }
    all
}

/// The cases whose needs the target claims; the others are counted under the first need that it does not.
fn claimed(
    selected: &[Case],
    description: &Description,
    not_claimed: &mut Vec<NotClaimed>,
    left_out: &mut Vec<LeftOut>,
    excluded: &mut Vec<Excluded>,
) -> Vec<Case> {
    let mut profiles: BTreeMap<Profile, usize> = BTreeMap::new();
    let mut abilities: BTreeMap<String, usize> = BTreeMap::new();
    let mut limits: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for case in selected {
        let needs = case.needs();
        let own = Some(case.profile()).filter(|profile| !description.profiles.contains(profile));
        let other = needs.profiles.iter().copied().find(|profile| !description.profiles.contains(profile));
        if let Some(profile) = own.or(other) {
            *profiles.entry(profile).or_default() += 1;
            excluded.push(case.excluded(format!("profile {}", profile_name(profile)), true));
        } else if let Some(ability) = needs.abilities.iter().find(|&ability| description.lacks.contains_key(ability)) {
            *abilities.entry(ability.clone()).or_default() += 1;
            excluded.push(case.excluded(format!("ability {ability}"), true));
        } else if let Some(limit) = needs.limits.iter().find(|&limit| description.limits.get(limit).copied().flatten().is_none())
        {
            *limits.entry(limit.clone()).or_default() += 1;
            excluded.push(case.excluded(without_limit(description, limit), false));
        } else {
            all.push(case.clone());
        }
    }
    for (profile, cases) in profiles {
        not_claimed.push(NotClaimed { what: format!("profile {}", profile_name(profile)), reason: None, cases });
    }
    for (ability, cases) in abilities {
        let reason = description.lacks.get(&ability).cloned();
        not_claimed.push(NotClaimed { what: format!("ability {ability}"), reason, cases });
    }
    for (limit, cases) in limits {
        left_out.push(LeftOut { why: without_limit(description, &limit), cases });
    }
    all
}

fn without_limit(description: &Description, limit: &str) -> String {
    let stated = if description.limits.contains_key(limit) { "the target has no limit" } else { "the target states no limit" };
    format!("{stated} `{limit}`")
}

/// By profile and id, each behind the cases that it builds on. A circle, which the vectors' lint rejects, is cut.
fn ordered(mut cases: Vec<Case>) -> Vec<Case> {
    cases.sort_by_key(|case| (matches!(case, Case::Message(_)), case.profile(), case.id()));
    let by_id: BTreeMap<String, usize> = cases.iter().enumerate().map(|(index, case)| (case.id(), index)).collect();
    let mut order = Vec::new();
    let mut seen = vec![false; cases.len()];
    for start in 0..cases.len() {
        // Depth first without recursion: an index is pushed again to be taken once its prerequisites are.
        let mut stack = vec![(start, false)];
        while let Some((index, is_ready)) = stack.pop() {
            if is_ready {
                order.push(index);
            } else if !std::mem::replace(&mut seen[index], true) {
                stack.push((index, true));
                if let Case::Session(session) = &cases[index] {
                    stack.extend(session.prerequisites().rev().filter_map(|id| by_id.get(id)).map(|&before| (before, false)));
                }
            }
        }
    }
    order.into_iter().map(|index| cases[index].clone()).collect()
}

#[cfg(test)]
mod tests;
