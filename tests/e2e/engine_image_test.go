//go:build linux

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"testing"
)

// imageName is busybox, made on the spot. Its program sleeps, so that it serves as a pod's sandbox as well.
const imageName = "docker.io/library/busybox:e2e"

// writeImage writes a tar of the image in both forms, which share the blobs: an OCI layout, which containerd imports, and
// the manifest.json that every Docker loads.
func writeImage(t *testing.T, path string) {
	t.Helper()
	layer := layerOf(t, rootfs(t, t.TempDir()))
	config := encode(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/sleep", "1000"}, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	const kind = "application/vnd.oci.image."
	manifest := encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
		"config": descriptor(kind+"config.v1+json", config),
		"layers": []any{descriptor(kind+"layer.v1.tar", layer)},
	})
	top := descriptor(kind+"manifest.v1+json", manifest)
	top["annotations"] = map[string]string{
		"io.containerd.image.name": imageName, "org.opencontainers.image.ref.name": "e2e",
	}
	blob := func(data []byte) string { return "blobs/sha256/" + digest(data) }
	files := []struct {
		name string
		data []byte
	}{
		{"oci-layout", encode(t, map[string]string{"imageLayoutVersion": "1.0.0"})},
		{"index.json", encode(t, map[string]any{"schemaVersion": 2, "manifests": []any{top}})},
		{"manifest.json", encode(t, []any{map[string]any{
			"Config": blob(config), "RepoTags": []string{"busybox:e2e"}, "Layers": []string{blob(layer)},
		}})},
		{blob(config), config},
		{blob(manifest), manifest},
		{blob(layer), layer},
	}
	var image bytes.Buffer
	archive := tar.NewWriter(&image)
	for _, f := range files {
		header := tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, image.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// layerOf is a root filesystem as a tar.
func layerOf(t *testing.T, root string) []byte {
	t.Helper()
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	if err := archive.AddFS(os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return layer.Bytes()
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func descriptor(kind string, data []byte) map[string]any {
	return map[string]any{"mediaType": kind, "digest": "sha256:" + digest(data), "size": len(data)}
}
