//! What a rule or a flag serves once it is its turn: one variant, a threshold, or several weights.
//!
//! Which method applies is decided by the names that a definition lists, never by their weights, so that moving a
//! percentage to 0 or 100 never reshuffles anybody:
//! - the default variant's own share folds into the remainder, which it gets anyway: `{on: 5, off: 95}` with the
//!   default `off` is the same cohort as `{on: 5}`;
//! - if one name is then left, it is a threshold; listing another variant at 0 reserves its place and makes it weighted;
//! - among several, the remainder takes part under the default variant's name, or under the empty name without one.
//!
//! With one of flagd's hashes the percentages lie end to end instead, as flagd has it: see `ranges`.

use crate::flag::definition::AttributePath;
use crate::flag::percent::Percent;

use super::bucket::{self, BUCKETS, Unit};
use super::context::{Attribute, Context, TARGETING_KEY};
use super::ranges::Ranges;
use super::weighted::Ticket;

/// The place of a variant in [`super::compiled::Compiled::variants`].
pub type VariantIndex = u16;

/// What is served.
#[derive(Debug, Clone, PartialEq)]
pub enum Serving {
    /// Nothing of its own: the default variant, because nothing else is said.
    Nothing,
    /// One variant to everybody.
    Variant(VariantIndex),
    /// One variant to those inside a percentage, the default variant to the others.
    Threshold(Threshold),
    /// Several variants by weight.
    Weighted(Weighted),
    /// One or several variants by flagd's hash.
    Ranges(Ranges),
}

/// Which attribute is the unit.
#[derive(Debug, Clone, PartialEq)]
pub enum By {
    /// `targetingKey`.
    TargetingKey,
    /// The attribute that the definition names.
    Attribute(AttributePath),
}

/// A percentage of one variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// The variant of those inside; none where only the default variant is listed.
    pub variant: Option<VariantIndex>,
    /// Buckets below this are inside: thousandths of a percent.
    pub below: u32,
    /// The unit.
    pub by: By,
    /// The salt and a separator.
    pub prefix: Box<[u8]>,
}

/// Percentages of several variants.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighted {
    /// Those among whom the unit is placed, the remainder last.
    pub shares: Box<[Share]>,
    /// The unit.
    pub by: By,
}

/// One participant.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// What it serves; none for a remainder without a default variant.
    pub variant: Option<VariantIndex>,
    /// The name under which it hashes.
    pub name: Box<str>,
    /// Thousandths of a percent.
    pub weight: u32,
    /// Salt and name, each with a separator.
    pub prefix: Box<[u8]>,
}

/// What percentages came to for one context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Somebody's share: that variant, or none for the code default.
    Share(Option<VariantIndex>),
    /// The remainder: the default variant, if there is one.
    Remainder,
    /// The context has no unit to place.
    NoUnit,
}

impl By {
    /// The unit of a context, if it has one.
    #[inline]
    pub fn unit<'c>(&self, context: &'c Context<'_>) -> Option<Unit<'c>> {
        Unit::of(self.attribute(context)?)
    }

    /// The attribute that is the unit.
    #[inline]
    pub fn attribute<'c, 'a>(&self, context: &'c Context<'a>) -> Option<&'c Attribute<'a>> {
        match self {
            Self::TargetingKey => context.get(TARGETING_KEY),
            Self::Attribute(path) => context.at(path.parts()),
        }
    }

    /// The attribute's name as definitions write it.
    pub fn name(&self) -> String {
        match self {
            Self::TargetingKey => TARGETING_KEY.to_owned(),
            Self::Attribute(path) => path.dotted(),
        }
    }
}

impl Threshold {
    /// Places a context. 0 % and 100 % need no unit.
    #[inline]
    pub fn place(&self, context: &Context<'_>) -> Placement {
        let inside = match self.below {
            0 => false,
            BUCKETS.. => true,
            below => match self.by.unit(context) {
                Some(unit) => bucket::of_hash(bucket::hash(&self.prefix, &unit)) < below,
                None => return Placement::NoUnit,
            },
        };
        if inside { Placement::Share(self.variant) } else { Placement::Remainder }
    }
}

impl Weighted {
    /// Places a context. Where one participant has all the weight, no unit is needed.
    #[inline]
    pub fn place(&self, context: &Context<'_>) -> Placement {
        let everything = Percent::ALL.thousandths();
        if let Some(only) = self.shares.iter().find(|share| share.weight == everything) {
            return Placement::Share(only.variant);
        }
        let Some(unit) = self.by.unit(context) else { return Placement::NoUnit };
        let mut best: Option<(Ticket<'_>, &Share)> = None;
        for share in self.shares.iter().filter(|share| share.weight > 0) {
            let ticket = share.ticket(&unit);
            if best.is_none_or(|(held, _)| ticket.beats(&held)) {
                best = Some((ticket, share));
            }
        }
        // The weights of all shares add up to 100 %, so there always is a winner.
        best.map_or(Placement::Remainder, |(_, winner)| Placement::Share(winner.variant))
    }
}

impl Share {
    /// What this participant draws for a unit.
    #[inline]
    pub fn ticket(&self, unit: &Unit<'_>) -> Ticket<'_> {
        Ticket { weight: self.weight, hash: bucket::hash(&self.prefix, unit), name: &self.name }
    }
}
