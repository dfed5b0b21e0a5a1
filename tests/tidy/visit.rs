//! The walk over a file's syntax tree that gathers what `Source` holds.
//!
//! It looks into attributes and into the tokens of macros as well, since an import may hide there. What a macro makes
//! of its tokens is not known here: every path among them counts.

use proc_macro2::TokenStream;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ImplItem, Item, Meta, Token, Type, UseTree, Visibility};

use super::source::{Alias, Declaration, Function, Raw, RawMention, Source, Spot};
use super::tokens::{self, Seen};

/// Walks the file; what needs no resolving goes straight into `source`.
pub fn collect(file: &syn::File, source: &mut Source) -> Raw {
    let module = source.module.clone();
    let mut walk = Walk { source, raw: Raw::default(), module, tests: 0, attribute: false };
    if is_test(&file.attrs) {
        walk.tests = 1;
    }
    for item in &file.items {
        walk.top_item(item);
    }
    walk.visit_file(file);
    walk.raw
}

struct Walk<'s> {
    source: &'s mut Source,
    raw: Raw,
    module: Vec<String>,
    tests: usize,
    attribute: bool,
}

impl Walk<'_> {
    fn test(&self) -> bool {
        self.tests > 0
    }

    fn spot(&self, text: impl Into<String>, line: usize) -> Spot {
        Spot { text: text.into(), line, test: self.test() }
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        let module = self.module.clone();
        self.raw.mentions.push(RawMention { path, module, line, test: self.tests > 0 });
    }

    fn alias(&mut self, name: String, target: Vec<String>) {
        let alias = Alias { target, module: self.module.clone(), test: self.test() };
        self.raw.aliases.entry(name).or_default().push(alias);
    }

    fn function(&mut self, name: String, line: usize, last: usize) {
        let function = Function { name, line, lines: last + 1 - line, test: self.test() };
        self.source.functions.push(function);
    }

    fn signature(&mut self, signature: &syn::Signature, block: Option<&syn::Block>) {
        if let Some(token) = &signature.asyncness {
            let spot = self.spot("async", line(token));
            self.source.keywords.push(spot);
        }
        if let Some(block) = block {
            let last = block.brace_token.span.close().end().line;
            self.function(signature.ident.to_string(), line(&signature.fn_token), last);
        }
    }

    fn top_item(&mut self, item: &Item) {
        let test = is_test(attributes(item));
        if !matches!(item, Item::Mod(module) if module.content.is_none()) {
            self.source.items.push(Spot { text: "an item".to_owned(), line: line(item), test });
        }
        if let Item::Use(import) = item
            && !matches!(import.vis, Visibility::Inherited)
        {
            self.source.reexports.push(Spot { text: "pub use".to_owned(), line: line(&import.use_token), test });
        }
    }

    fn import(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |ident: &Ident| [prefix, &[name(ident)]].concat();
        match tree {
            UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(prefix, tree)),
            UseTree::Glob(glob) => {
                let target = prefix.to_vec();
                let test = self.test();
                self.raw.globs.push(Alias { target, module: self.module.clone(), test });
                self.mention([prefix, &["*".to_owned()]].concat(), line(glob));
            }
            UseTree::Name(leaf) => {
                let path = if leaf.ident == "self" { prefix.to_vec() } else { with(&leaf.ident) };
                self.mention(path.clone(), line(&leaf.ident));
                if let Some(last) = path.last() {
                    self.alias(last.clone(), path.clone());
                }
            }
            UseTree::Rename(leaf) => {
                let path = if leaf.ident == "self" { prefix.to_vec() } else { with(&leaf.ident) };
                self.mention(path.clone(), line(&leaf.ident));
                self.alias(name(&leaf.rename), path);
            }
        }
    }

    fn tests_of<'t>(&mut self, attributes: &[Attribute], node: &impl Spanned, walk: impl FnOnce(&mut Self) + 't) {
        let test = is_test(attributes);
        self.tests += usize::from(test);
        if self.tests > 0 {
            let span = node.span();
            self.raw.test_lines.extend(span.start().line..=span.end().line);
        }
        walk(self);
        self.tests -= usize::from(test);
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        self.tests_of(attributes(item), item, |walk| {
            if let Some(ident) = type_name(item) {
                let spot = walk.spot(name(ident), line(ident));
                walk.source.types.push(spot);
            }
            visit::visit_item(walk, item);
        });
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = if let ImplItem::Fn(function) = item { function.attrs.as_slice() } else { &[] };
        self.tests_of(attributes, item, |walk| visit::visit_impl_item(walk, item));
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        import.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        self.import(&[], &import.tree);
    }

    fn visit_item_type(&mut self, alias: &'ast syn::ItemType) {
        if let Type::Path(target) = &*alias.ty
            && target.qself.is_none()
        {
            self.alias(name(&alias.ident), segments(&target.path));
        }
        visit::visit_item_type(self, alias);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let spot = self.spot("extern crate", line(item));
        self.source.hidden.push(spot);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(name(&item.ident));
        if item.content.is_none() {
            let declaration = Declaration { module: self.module.clone(), line: line(&item.ident), test: self.test() };
            self.source.declarations.push(declaration);
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.signature(&item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.signature(&item.sig, Some(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.signature(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_async(&mut self, node: &'ast syn::ExprAsync) {
        let spot = self.spot("async", line(&node.async_token));
        self.source.keywords.push(spot);
        visit::visit_expr_async(self, node);
    }

    fn visit_expr_await(&mut self, node: &'ast syn::ExprAwait) {
        let spot = self.spot("await", line(&node.await_token));
        self.source.keywords.push(spot);
        visit::visit_expr_await(self, node);
    }

    fn visit_expr_closure(&mut self, node: &'ast syn::ExprClosure) {
        if let Some(token) = &node.asyncness {
            let spot = self.spot("async", line(token));
            self.source.keywords.push(spot);
        }
        visit::visit_expr_closure(self, node);
    }

    fn visit_expr_method_call(&mut self, node: &'ast syn::ExprMethodCall) {
        if node.method == "sleep" {
            let spot = self.spot("sleep", line(&node.method));
            self.source.sleeps.push(spot);
        }
        visit::visit_expr_method_call(self, node);
    }

    fn visit_expr_path(&mut self, node: &'ast syn::ExprPath) {
        // `<std::time::Instant>::now` is `std::time::Instant::now`.
        if let Some(qself) = &node.qself
            && qself.position == 0
            && let Type::Path(of) = &*qself.ty
        {
            let path = [segments(&of.path), segments(&node.path)].concat();
            self.mention(path, line(node));
        }
        visit::visit_expr_path(self, node);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.mention(segments(path), line(path));
        visit::visit_path(self, path);
    }

    /// `pub(super)` and `pub(in …)` import nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_macro(&mut self, node: &'ast syn::Macro) {
        let mut path = segments(&node.path);
        if let Some(last) = path.last_mut() {
            last.push('!');
        }
        self.mention(path, line(&node.path));
        self.visit_token_stream(&node.tokens);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let path = attribute.path();
        if path.is_ident("doc") {
            return;
        }
        let conditional_path = || match &attribute.meta {
            Meta::List(list) => list.tokens.to_string().contains("path ="),
            Meta::Path(_) | Meta::NameValue(_) => false,
        };
        if path.is_ident("path") || path.is_ident("macro_export") || path.is_ident("cfg_attr") && conditional_path() {
            let spot = self.spot(format!("#[{}]", segments(path).join("::")), line(attribute));
            self.source.hidden.push(spot);
        }
        self.attribute = true;
        visit::visit_attribute(self, attribute);
        self.attribute = false;
    }

    fn visit_token_stream(&mut self, stream: &'ast TokenStream) {
        let mut seen = Vec::new();
        tokens::scan(stream, self.attribute, &mut seen);
        for seen in seen {
            match seen {
                Seen::Path(path, line) => self.mention(path, line),
                Seen::Alias(name, path) => self.alias(name, path),
                Seen::Hidden(line) => {
                    let spot = self.spot("a path made of a macro's variable", line);
                    self.source.hidden.push(spot);
                }
                Seen::Keyword(word, line) => {
                    let spot = self.spot(word, line);
                    self.source.keywords.push(spot);
                }
                Seen::Function(name, line, last) => self.function(name, line, last),
            }
        }
    }
}

fn name(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").map(str::to_owned).unwrap_or(text)
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| name(&segment.ident)).collect()
}

fn line(node: &impl Spanned) -> usize {
    node.span().start().line
}

/// True for `#[test]`, `#[tokio::test]` and the like, and for a `#[cfg]` that only holds in tests.
fn is_test(attributes: &[Attribute]) -> bool {
    fn only_in_tests(condition: &Meta) -> bool {
        let parts = |list: &syn::MetaList| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok();
        match condition {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => {
                parts(list).is_some_and(|parts| parts.iter().any(only_in_tests))
            }
            Meta::List(list) if list.path.is_ident("any") => {
                parts(list).is_some_and(|parts| !parts.is_empty() && parts.iter().all(only_in_tests))
            }
            Meta::List(_) | Meta::NameValue(_) => false,
        }
    }
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let cfg =
            path.is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|condition| only_in_tests(&condition));
        cfg || path.segments.last().is_some_and(|last| last.ident == "test")
    })
}

fn type_name(item: &Item) -> Option<&Ident> {
    match item {
        Item::Struct(syn::ItemStruct { ident, .. })
        | Item::Enum(syn::ItemEnum { ident, .. })
        | Item::Trait(syn::ItemTrait { ident, .. })
        | Item::Type(syn::ItemType { ident, .. }) => Some(ident),
        _ => None,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(syn::ItemConst { attrs, .. })
        | Item::Enum(syn::ItemEnum { attrs, .. })
        | Item::ExternCrate(syn::ItemExternCrate { attrs, .. })
        | Item::Fn(syn::ItemFn { attrs, .. })
        | Item::ForeignMod(syn::ItemForeignMod { attrs, .. })
        | Item::Impl(syn::ItemImpl { attrs, .. })
        | Item::Macro(syn::ItemMacro { attrs, .. })
        | Item::Mod(syn::ItemMod { attrs, .. })
        | Item::Static(syn::ItemStatic { attrs, .. })
        | Item::Struct(syn::ItemStruct { attrs, .. })
        | Item::Trait(syn::ItemTrait { attrs, .. })
        | Item::TraitAlias(syn::ItemTraitAlias { attrs, .. })
        | Item::Type(syn::ItemType { attrs, .. })
        | Item::Union(syn::ItemUnion { attrs, .. })
        | Item::Use(syn::ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}
