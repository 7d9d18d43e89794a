package dev.slmexport.demo.ui

import android.content.res.AssetManager
import java.io.File
import java.io.IOException
import java.security.MessageDigest

private const val MANIFEST = "manifest.json"
private const val ASIDE = ".part"

/**
 * Copies the bundles among the assets to `home`, because runtimes open files: each once, to a folder named by its
 * manifest's SHA-256, so that another bundle in a new version of the app is copied anew. What is of no use any more goes.
 */
fun installed(assets: AssetManager, folder: String, home: File): File {
    val names = assets.names(folder).filter { MANIFEST in assets.names("$folder/$it") }
    val keys = names.associateBy { name -> key(assets.open("$folder/$name/$MANIFEST").use { it.readBytes() }) }
    home.listFiles().orEmpty().filter { it.name !in keys }.forEach { it.deleteRecursively() }
    for ((key, name) in keys) {
        val target = File(home, key)
        if (!target.exists()) copyWhole(assets, "$folder/$name", target)
    }
    return home
}

/** What is in a folder. Robolectric lists what is in the folders within too, as paths. */
private fun AssetManager.names(folder: String): List<String> = list(folder).orEmpty().map { it.substringBefore('/') }.distinct()

private fun key(manifest: ByteArray) =
    MessageDigest.getInstance("SHA-256").digest(manifest).joinToString("") { "%02x".format(it) }

/** Written aside, then renamed: half a copy is never used. */
private fun copyWhole(assets: AssetManager, path: String, target: File) {
    val aside = File(target.parentFile, target.name + ASIDE)
    copy(assets, path, aside)
    if (!aside.renameTo(target)) throw IOException("The bundle could not be copied to $target.")
}

private fun copy(assets: AssetManager, path: String, target: File) {
    val children = assets.names(path)
    if (children.isEmpty()) {
        target.parentFile!!.mkdirs()
        assets.open(path).use { from -> target.outputStream().use(from::copyTo) }
    } else {
        children.forEach { copy(assets, "$path/$it", File(target, it)) }
    }
}
