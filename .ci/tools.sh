# Programs that the scripts beside this one need and cargo can build. To be sourced.

# Prints where a program of cargo's is: `find_tool cargo-deny 0.20.2`. Building one takes minutes, so what is built
# here outlives this clone.
find_tool() {
    local name="$1" version="$2" candidate
    local tools="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/biometric-bridge-tools"
    for candidate in "$(command -v "$name" || true)" "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/$name" \
        "$tools/bin/$name"; do
        if [ -x "$candidate" ]; then
            echo "$candidate"
            return
        fi
    done
    echo "$name is not installed: building $version in $tools" >&2
    cargo install "$name" --version "$version" --locked --root "$tools" --target-dir "$tools/target" >&2
    rm -rf "$tools/target"
    echo "$tools/bin/$name"
}
