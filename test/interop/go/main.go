// Two small programs on Debian's golang-golang-x-mod-dev (sumdb/note, sumdb/tlog), code of other people for the same formats.
//
//	check LEDGER GATEWAYKEY [COSIGNERKEY…]   opens the checkpoint, rebuilds the tree from the tiles, checks proofs from them
//	witness NAME GATEWAYKEY                  a C2SP witness on a free port: prints its key and address, then serves
package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A cosignature/v1 verifier: sumdb/note of this age knows type 1 only.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(c.key, cosigned(msg, binary.BigEndian.Uint64(sig)), sig[8:])
}

func cosigned(msg []byte, seconds uint64) []byte {
	return append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", seconds)), msg...)
}

func keyHash(name string, typ byte, key []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{typ})
	h.Write(key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func parseCosigner(vkey string) cosigner {
	parts := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	fail(err)
	if raw[0] != 4 {
		fail(fmt.Errorf("%s is no cosigner", vkey))
	}
	return cosigner{parts[0], keyHash(parts[0], 4, raw[1:]), raw[1:]}
}

type checkpoint struct {
	origin string
	tree   tlog.Tree
}

func parseCheckpoint(text string) (checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return checkpoint{}, fmt.Errorf("%d lines", len(lines))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return checkpoint{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return checkpoint{lines[0], tlog.Tree{N: size, Hash: hash}}, err
}

// Tiles as C2SP tlog-tiles lays them out: tile/<level>/<n> where x/mod has tile/8/<level>/<n>.
type tiles struct{ dir string }

func (t tiles) Height() int { return 8 }
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.dir, path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func check(dir, gatewayKey string, cosigners []string) {
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	fail(err)
	gateway, err := note.NewVerifier(gatewayKey)
	fail(err)
	verifiers := []note.Verifier{gateway}
	for _, vkey := range cosigners {
		verifiers = append(verifiers, parseCosigner(vkey))
	}
	opened, err := note.Open(text, note.VerifierList(verifiers...))
	fail(err)
	head, err := parseCheckpoint(opened.Text)
	fail(err)

	// The blocks themselves, from the entry bundles, under the root.
	var stored []tlog.Hash
	var blocks int64
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, i := range indexes {
			found = append(found, stored[i])
		}
		return found, nil
	})
	var kinds []string
	for blocks < head.tree.N {
		width := head.tree.N - blocks/256*256
		path := filepath.Join("tile", "entries", fmt.Sprintf("%03d", blocks/256))
		if width < 256 {
			path += fmt.Sprintf(".p/%d", width)
		}
		bundle, err := os.ReadFile(filepath.Join(dir, path))
		fail(err)
		for len(bundle) > 0 {
			size := int(binary.BigEndian.Uint16(bundle))
			hashes, err := tlog.StoredHashes(blocks, bundle[2:2+size], read)
			fail(err)
			stored = append(stored, hashes...)
			kinds = append(kinds, strings.SplitN(strings.SplitN(string(bundle[2:2+size]), "\nkind ", 2)[1], "\n", 2)[0])
			bundle = bundle[2+size:]
			blocks++
		}
	}
	root, err := tlog.TreeHash(blocks, read)
	fail(err)
	if root != head.tree.Hash {
		fail(fmt.Errorf("the blocks lead to %v, the checkpoint says %v", root, head.tree.Hash))
	}
	// Proofs from our hash tiles, every one checked by tlog against the root as it is read.
	reader := tlog.TileHashReader(head.tree, tiles{dir})
	for i := int64(0); i < head.tree.N; i++ {
		proof, err := tlog.ProveRecord(head.tree.N, i, reader)
		fail(err)
		fail(tlog.CheckRecord(proof, head.tree.N, head.tree.Hash, i, stored[tlog.StoredHashIndex(0, i)]))
		old, err := tlog.TreeHash(i+1, read)
		fail(err)
		grown, err := tlog.ProveTree(head.tree.N, i+1, reader)
		fail(err)
		fail(tlog.CheckTree(grown, head.tree.N, head.tree.Hash, i+1, old))
	}
	fmt.Printf("ok %s size %d signatures %d kinds %s\n", head.origin, head.tree.N, len(opened.Sigs), strings.Join(kinds, ","))
}

type witness struct {
	mu      sync.Mutex
	gateway note.Verifier
	held    tlog.Tree
	name    string
	hash    uint32
	key     ed25519.PrivateKey
}

func (w *witness) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(io.LimitReader(in.Body, 1<<20))
	if err != nil || in.URL.Path != "/add-checkpoint" {
		http.Error(out, "no", 400)
		return
	}
	head, rest, _ := bytes.Cut(body, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	old, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	if err != nil {
		http.Error(out, "old", 400)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			http.Error(out, "proof", 400)
			return
		}
		proof = append(proof, hash)
	}
	opened, err := note.Open(rest, note.VerifierList(w.gateway))
	if err != nil {
		http.Error(out, err.Error(), 403)
		return
	}
	next, err := parseCheckpoint(opened.Text)
	if err != nil {
		http.Error(out, err.Error(), 400)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if old != w.held.N {
		out.Header().Set("Content-Type", "text/x.tlog.size")
		out.WriteHeader(409)
		fmt.Fprintf(out, "%d\n", w.held.N)
		return
	}
	if old > 0 && old == next.tree.N && next.tree.Hash != w.held.Hash {
		http.Error(out, "another root", 422)
		return
	}
	if old > 0 && old < next.tree.N {
		if err := tlog.CheckTree(proof, next.tree.N, next.tree.Hash, old, w.held.Hash); err != nil {
			http.Error(out, err.Error(), 422)
			return
		}
	}
	w.held = next.tree
	seconds := uint64(time.Now().Unix())
	var line [12]byte
	binary.BigEndian.PutUint32(line[:], w.hash)
	binary.BigEndian.PutUint64(line[4:], seconds)
	sig := ed25519.Sign(w.key, cosigned([]byte(opened.Text), seconds))
	fmt.Fprintf(out, "\u2014 %s %s\n", w.name, base64.StdEncoding.EncodeToString(append(line[:], sig...)))
}

func serve(name, gatewayKey string) {
	gateway, err := note.NewVerifier(gatewayKey)
	fail(err)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	fail(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)
	hash := keyHash(name, 4, public)
	fmt.Printf("%s+%08x+%s http://%s\n", name, hash, base64.StdEncoding.EncodeToString(append([]byte{4}, public...)), listener.Addr())
	go func() {
		// Ends with the test that started it.
		bufio.NewReader(os.Stdin).ReadString(0)
		os.Exit(0)
	}()
	fail(http.Serve(listener, &witness{gateway: gateway, name: name, hash: hash, key: private}))
}

func main() {
	if len(os.Args) >= 4 && os.Args[1] == "check" {
		check(os.Args[2], os.Args[3], os.Args[4:])
	} else if len(os.Args) == 4 && os.Args[1] == "witness" {
		serve(os.Args[2], os.Args[3])
	} else {
		fail(fmt.Errorf("check LEDGER GATEWAYKEY [COSIGNERKEY…] | witness NAME GATEWAYKEY"))
	}
}
