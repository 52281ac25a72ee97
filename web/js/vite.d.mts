/** A plugin for Vite: keeps the package's files in one folder of the build, to which its imports then lead. */
export function denseMatch(options?: {
  /** The folder in the build, relative to `build.outDir`; default "dense-match". */
  folder?: string;
}): { name: string };
