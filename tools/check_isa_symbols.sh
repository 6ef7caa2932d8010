#!/usr/bin/env bash
# No instruction set's object file may hold a symbol that the linker could share with code for lesser
# machines. Usage: tools/check_isa_symbols.sh BUILD_FOLDER
set -euo pipefail
found=0
while IFS= read -r object; do
  name=$(basename "$object" | sed -E 's/isa_([a-z0-9]+)\.cpp\.o/\1/')
  found=$((found + 1))
  # weak or unique symbols whose name does not mention the ISA's namespace
  leaks=$(nm -C "$object" | grep -E ' [WVu] ' | grep -v "wengert::$name::" || true)
  if [ -n "$leaks" ]; then
    printf '%s shares symbols:\n%s\n' "$object" "$leaks"
    exit 1
  fi
done < <(find "$1" -name 'isa_*.cpp.o')
[ "$found" -gt 0 ] || { echo "no ISA object files under $1"; exit 1; }
echo "checked $found instruction sets: no shared symbols"
