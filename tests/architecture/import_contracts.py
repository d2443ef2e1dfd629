"""The import-linter contract that lists what a room may import, which is the form the rule has in the design."""

import sys
from collections.abc import Iterable, Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.imports import Module

# A module stands here when using it cannot read a clock, draw by chance, or touch the world outside
# the process. A few of them hold single functions that do (`datetime.now`, `uuid.uuid4`); those are
# banned by name in the linter's configuration.
PURE_STANDARD_LIBRARY = frozenset(
    {
        "__future__",
        "abc",
        "array",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "graphlib",
        "hashlib",
        "heapq",
        "hmac",
        "inspect",
        "ipaddress",
        "itertools",
        "json",
        "keyword",
        "math",
        "numbers",
        "operator",
        "re",
        "statistics",
        "string",
        "struct",
        "textwrap",
        "types",
        "typing",
        "unicodedata",
        "uuid",
        "warnings",
        "zlib",
    }
)


class MayImportOnly(Contract):
    """Everything in `modules`, less `apart_from`, imports only itself and what is listed.

    Options:
        modules: the modules that the rule binds, each with all below it.
        apart_from: parts of them that other rules bind. The bound modules may not import these
            unless `project` lists them.
        project: modules of this project that may be imported, each with all below it.
        standard_library: names of modules, `pure` for all that stand in `PURE_STANDARD_LIBRARY`,
            or `any`.
        libraries: top-level names of foreign packages, or `any`.
    """

    type_name = "may_import_only"

    # The base class replaces each field by what it has parsed, so the values have these types.
    modules: list[Module] = fields.ListField(subfield=fields.ModuleField())  # type: ignore[assignment]
    apart_from: list[Module] = fields.ListField(subfield=fields.ModuleField(), default=[])  # type: ignore[assignment]
    project: list[Module] = fields.ListField(subfield=fields.ModuleField(), default=[])  # type: ignore[assignment]
    standard_library: set[str] = fields.SetField(subfield=fields.StringField(), default=set())  # type: ignore[assignment]
    libraries: set[str] = fields.SetField(subfield=fields.StringField(), default=set())  # type: ignore[assignment]

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Compare each import of the bound modules with the list."""
        output.verbose_print(verbose, f"Reading the imports of {_names(self.modules)}...")
        for module in (*self.modules, *self.apart_from, *self.project):
            if module.name not in graph.modules:
                # A rule about a module that is gone protects nothing, so it must not pass quietly.
                msg = f"Module '{module.name}' does not exist."
                raise ValueError(msg)
        forbidden = [
            (importer, imported, _line_numbers(graph, importer, imported))
            for importer in sorted(self._bound(graph.modules))
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if not self._allows(imported)
        ]
        return ContractCheck(kept=not forbidden, metadata={"forbidden": forbidden})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each import that the list does not name, with its lines."""
        for importer, imported, lines in check.metadata["forbidden"]:
            output.print_error(f"{importer} may not import {imported} ({lines})")
        output.new_line()

    def _bound(self, candidates: Iterable[str]) -> Iterator[str]:
        for name in candidates:
            if _is_within(name, self.modules) and not _is_within(name, self.apart_from):
                yield name

    def _allows(self, imported: str) -> bool:
        top = imported.partition(".")[0]
        if top in self.session_options["root_packages"]:
            return _is_within(imported, self.project) or any(self._bound([imported]))
        if top in sys.stdlib_module_names:
            listed, pure = self.standard_library, top in PURE_STANDARD_LIBRARY
            return "any" in listed or top in listed or ("pure" in listed and pure)
        return "any" in self.libraries or top in self.libraries


def _is_within(name: str, modules: Iterable[Module]) -> bool:
    return any(name == module.name or name.startswith(f"{module.name}.") for module in modules)


def _line_numbers(graph: ImportGraph, importer: str, imported: str) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    return ", ".join(f"l. {detail['line_number']}" for detail in details)


def _names(modules: Iterable[Module]) -> str:
    return ", ".join(module.name for module in modules)
