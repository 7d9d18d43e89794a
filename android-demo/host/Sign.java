import com.android.apksig.ApkSigner;
import com.android.apksig.ApkVerifier;
import com.android.apksig.KeyConfig;
import java.io.File;
import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.List;

/** Aligns and signs an APK with a key of this machine's own, then verifies it as a phone would. */
class Sign {
  private static final String PASSWORD = "throw-away";

  public static void main(String[] arguments) throws Exception {
    File store = new File(arguments[0]);
    if (!store.exists()) makeKey(store);
    File signed = new File(arguments[2]);
    new ApkSigner.Builder(List.of(signer(store))).setInputApk(new File(arguments[1])).setOutputApk(signed).build().sign();
    ApkVerifier.Result result = new ApkVerifier.Builder(signed).build().verify();
    if (!result.isVerified()) throw new IllegalStateException(result.getErrors().toString());
    System.out.println("signature verified: v2 " + result.isVerifiedUsingV2Scheme() + ", v3 " + result.isVerifiedUsingV3Scheme());
  }

  private static ApkSigner.SignerConfig signer(File store) throws Exception {
    KeyStore keys = KeyStore.getInstance("PKCS12");
    try (FileInputStream stream = new FileInputStream(store)) {
      keys.load(stream, PASSWORD.toCharArray());
    }
    PrivateKey key = (PrivateKey) keys.getKey("key", PASSWORD.toCharArray());
    return new ApkSigner.SignerConfig.Builder("key", new KeyConfig.Jca(key), List.of((X509Certificate) keys.getCertificate("key"))).build();
  }

  private static void makeKey(File store) throws Exception {
    String[] command = {"keytool", "-genkeypair", "-keystore", store.getPath(), "-storepass", PASSWORD, "-alias", "key",
        "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000", "-dname", "CN=throw-away"};
    int code = new ProcessBuilder(command).inheritIO().start().waitFor();
    if (code != 0) throw new IllegalStateException("keytool ended with " + code);
  }
}
